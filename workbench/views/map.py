"""Map: the instrument, one screen for map, filters, table, sound and search."""

from usad_workbench.workbench.widgets import page
from usad_workbench.workbench.widgets.instrument import mount


def view() -> None:
    if page.is_embedded():
        mount("map")


if __name__ == "__main__":
    view()
