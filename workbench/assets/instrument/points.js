// A million points by WebGL2. Positions stay what the server sent, two 16-bit numbers; a second
// pair of buffers holds where points move to, and the graphics card mixes the two. Points are
// added up in a floating-point picture and only then turned into colours, so that a crowd is
// told from a single point; what is not selected is a grey picture under the coloured one.

const VERTEX = `#version 300 es
layout(location = 0) in float fromX; layout(location = 1) in float fromY;
layout(location = 2) in float toX; layout(location = 3) in float toY;
layout(location = 4) in uint code; layout(location = 5) in uint chosen;
uniform vec2 centre, scale; uniform float blend, size; uniform int wanted;
uniform sampler2D palette; uniform vec3 grey;
flat out vec3 colour;
void main() {
  bool missing = (fromX == 1.0 && fromY == 1.0) || (toX == 1.0 && toY == 1.0);
  bool hidden = wanted < 2 && int(chosen) != wanted;
  vec2 place = (mix(vec2(fromX, fromY), vec2(toX, toY), blend) - centre) * scale;
  gl_Position = missing || hidden ? vec4(2.0, 2.0, 2.0, 1.0) : vec4(place, 0.0, 1.0);
  gl_PointSize = size;
  colour = wanted == 0 ? grey : texelFetch(palette, ivec2(int(code), 0), 0).rgb;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
flat in vec3 colour; uniform float size; out vec4 sum;
void main() {
  float away = length(gl_PointCoord - 0.5) * size;
  float weight = clamp(size * 0.5 - away + 0.25, 0.0, 1.0);
  if (weight == 0.0) discard;
  sum = vec4(colour * weight, weight);
}`;
const COVER = `#version 300 es
void main() { gl_Position = vec4(vec2((gl_VertexID << 1) & 2, gl_VertexID & 2) * 2.0 - 1.0, 0.0, 1.0); }`;
const TONE = `#version 300 es
precision highp float;
uniform sampler2D sums; uniform float strength; out vec4 shown;
void main() {
  vec4 sum = texelFetch(sums, ivec2(gl_FragCoord.xy), 0);
  if (sum.a == 0.0) discard;
  float alpha = sum.a * strength / (1.0 + sum.a * strength);
  shown = vec4(sum.rgb / sum.a * alpha, alpha);
}`;

function program(gl, vertex, fragment) {
  const made = gl.createProgram();
  for (const [type, text] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
    const shader = gl.createShader(type);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
  const places = {};
  for (let i = 0; i < gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS); i++) {
    const { name } = gl.getActiveUniform(made, i);
    places[name] = gl.getUniformLocation(made, name);
  }
  return { made, places };
}

export class Points {
  constructor(canvas) {
    this.canvas = canvas;
    const options = { antialias: false, alpha: true, premultipliedAlpha: true, depth: false };
    const gl = (this.gl = canvas.getContext("webgl2", options));
    if (!gl || !gl.getExtension("EXT_color_buffer_float")) {
      throw new Error("This browser draws no WebGL2: the map needs it, table and sound do not.");
    }
    this.n = 0;
    this.dots = program(gl, VERTEX, FRAGMENT);
    this.tone = program(gl, COVER, TONE);
    this.array = gl.createVertexArray();
    this.buffers = Array.from({ length: 4 }, () => gl.createBuffer());
    this.palette = this.picture();
    this.sums = this.picture();
    this.frame = gl.createFramebuffer();
    this.isSelective = false;
  }

  picture() {
    const { gl } = this;
    const made = gl.createTexture();
    gl.bindTexture(gl.TEXTURE_2D, made);
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
      gl.texParameteri(gl.TEXTURE_2D, side, gl.NEAREST);
    }
    return made;
  }

  fill(i, bytes) {
    const { gl } = this;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[i]);
    gl.bufferData(gl.ARRAY_BUFFER, bytes, gl.STATIC_DRAW);
  }

  positions(i, { n, x, y }, isSame = false) {
    const { gl } = this;
    gl.bindVertexArray(this.array);
    if (isSame) {
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[0]);
    } else {
      const both = new Uint16Array(2 * n);
      both.set(x);
      both.set(y, n);
      this.fill(i, both);
    }
    for (const axis of [0, 1]) {
      gl.enableVertexAttribArray(2 * i + axis);
      gl.vertexAttribPointer(2 * i + axis, 1, gl.UNSIGNED_SHORT, true, 0, axis * 2 * n);
    }
  }

  // Where points are, and where they move to.
  place(from, to = from) {
    if (from.n !== this.n) {
      this.n = from.n;
      this.byte(2, new Uint8Array(this.n).fill(255));
      this.byte(3, new Uint8Array(this.n).fill(1));
    }
    this.positions(0, from);
    this.positions(1, to, from === to);
  }

  byte(i, bytes) {
    const { gl } = this;
    this.fill(i, bytes);
    gl.bindVertexArray(this.array);
    gl.enableVertexAttribArray(2 + i);
    gl.vertexAttribIPointer(2 + i, 1, gl.UNSIGNED_BYTE, 0, 0);
  }

  codes(codes) {
    this.byte(2, codes);
  }

  // One byte a point out of one bit a point; null selects everything.
  select(bits) {
    this.isSelective = bits !== null;
    const chosen = new Uint8Array(this.n).fill(1);
    if (bits) for (let i = 0; i < this.n; i++) chosen[i] = (bits[i >> 3] >> (i & 7)) & 1;
    this.byte(3, chosen);
  }

  colours(data) {
    const { gl } = this;
    gl.bindTexture(gl.TEXTURE_2D, this.palette);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, data);
  }

  resize(width, height) {
    const { gl, canvas } = this;
    if (canvas.width === width && canvas.height === height) return;
    canvas.width = width;
    canvas.height = height;
    gl.bindTexture(gl.TEXTURE_2D, this.sums);
    gl.texImage2D(
      gl.TEXTURE_2D, 0, gl.RGBA16F, width, height, 0, gl.RGBA, gl.HALF_FLOAT, null,
    );
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
    gl.framebufferTexture2D(
      gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.sums, 0,
    );
  }

  // Draws the first `n` points: rows are in random order, so any number of them is a fair sample.
  draw({ centre, scale, blend, size, strength, grey, n }) {
    const { gl, canvas } = this;
    gl.viewport(0, 0, canvas.width, canvas.height);
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    if (!this.n) return;
    for (const wanted of this.isSelective ? [0, 1] : [2]) {
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.enable(gl.BLEND);
      gl.blendFunc(gl.ONE, gl.ONE);
      this.sum({ centre, scale, blend, size: wanted ? size : size * 0.8, grey, wanted, n });
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
      gl.useProgram(this.tone.made);
      gl.bindVertexArray(null);
      gl.bindTexture(gl.TEXTURE_2D, this.sums);
      const shown = (strength * this.n) / Math.max(Math.min(n, this.n), 1);
      gl.uniform1f(this.tone.places.strength, wanted ? shown : shown * 0.6);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    }
  }

  sum({ centre, scale, blend, size, grey, wanted, n }) {
    const { gl } = this;
    const { made, places } = this.dots;
    gl.useProgram(made);
    gl.bindVertexArray(this.array);
    gl.bindTexture(gl.TEXTURE_2D, this.palette);
    gl.uniform2f(places.centre, ...centre);
    gl.uniform2f(places.scale, ...scale);
    gl.uniform1f(places.blend, blend);
    gl.uniform1f(places.size, size);
    gl.uniform1i(places.wanted, wanted);
    gl.uniform3f(places.grey, ...grey.map((value) => value / 255));
    gl.drawArrays(gl.POINTS, 0, Math.min(n, this.n));
  }

  end() {
    this.gl.getExtension("WEBGL_lose_context")?.loseContext();
  }
}
