"""The terminal's application: the sentence, the numbers, two plots, and a tab for each picture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.widgets import Footer, Label, Sparkline, Static, TabbedContent, TabPane

from projector.terminal.pictures import PICTURES, age, sentence, tiles
from projector.terminal.views import View

PLOTTED_SAMPLES = 240


class Top(App[None]):
    """Draws views as they come."""

    TITLE = "projector"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: 1; }
    #name { width: 1fr; text-style: bold; }
    #age { width: auto; color: $text-muted; }
    #sentence { height: auto; max-height: 7; padding: 0 0 1 0; }
    #tiles { height: 1; }
    #plots { height: 2; margin: 1 0 0 0; }
    #plots Label { width: 9; color: $text-muted; }
    #plots Sparkline { width: 1fr; height: 2; margin: 0 1 0 0; }
    TabbedContent { height: 1fr; }
    TabPane { padding: 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(i), f"tab('{n}')", n, show=False) for i, n in enumerate(PICTURES, 1)),
        Binding("t", "theme", "theme"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, views: AsyncIterator[View]) -> None:
        super().__init__()
        self._views = views

    def compose(self) -> ComposeResult:
        """Lays it out, from top to bottom."""
        with Horizontal(id="head"):
            yield Label("projector", id="name")
            yield Label("looking …", id="age")
        yield Static(id="sentence")
        yield Static(id="tiles")
        with Horizontal(id="plots"):
            yield Label("events\na second")
            yield Sparkline([0], id="rate")
            yield Label("seconds\nbehind")
            yield Sparkline([0], id="lag")
        with TabbedContent():
            for i, name in enumerate(PICTURES, 1):
                with TabPane(f"{i} {name}", id=name), VerticalScroll():
                    yield Static(id=f"{name}-picture")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begins to follow the views."""
        self.run_worker(self._follow(), exit_on_error=True)

    async def _follow(self) -> None:
        async for view in self._views:
            self.draw(view)

    def draw(self, view: View) -> None:
        """Draws one view."""
        state = view.state
        self.query_one("#name", Label).update(f"projector {state.version}  {state.process}")
        self.query_one("#age", Label).update(Text(age(state)))
        self.query_one("#sentence", Static).update(sentence(state))
        self.query_one("#tiles", Static).update(tiles(state))
        samples = view.samples[-PLOTTED_SAMPLES:]
        self.query_one("#rate", Sparkline).data = [s.appended_per_second for s in samples] or [0]
        self.query_one("#lag", Sparkline).data = [s.lag_seconds for s in samples] or [0]
        for name, picture in PICTURES.items():
            self.query_one(f"#{name}-picture", Static).update(picture(view))

    def action_tab(self, name: str) -> None:
        """Shows a picture."""
        self.query_one(TabbedContent).active = name

    def action_theme(self) -> None:
        """Light, or dark."""
        self.theme = "textual-light" if self.theme != "textual-light" else "textual-dark"
