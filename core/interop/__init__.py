"""The student outside this package: other libraries' formats and interfaces.

``huggingface`` and ``onnx_model`` write files; ``hear``, ``xares``, ``xares_llm`` and
``s3prl`` are what the benchmarks of these names load.
"""
