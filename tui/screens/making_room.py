"""What the chat screen does where a conversation has no room left in its context: it asks, and cuts nothing."""

from __future__ import annotations

from collections.abc import Callable

from backends.budget import Budget
from tui.screens.overflow import Overflow, Way, larger_context, ways
from tui.screens.turns import TurnScreen
from tui.widgets.chat_pane import ChatPane
from tui.widgets.prompt import Draft


def nothing() -> None:
    """There is nothing to be done."""


class RoomScreen(TurnScreen):
    """Panes whose contexts are looked after."""

    @staticmethod
    def _over(pane: ChatPane, draft: Draft) -> int:
        """Tokens too many for the pane's context; 0: it fits, or that cannot be known."""
        budget = pane.measure(draft.whole)
        return budget.over if budget is not None else 0

    def _too_long(self, pane: ChatPane, draft: Draft) -> bool:
        """Whether it does not fit the context any more; then the user is asked what to do, and nothing is cut."""
        budget = pane.measure(draft.whole)
        if budget is None or not budget.over or pane.request is None:
            return False
        if pane.generation is None:
            # What the question speaks of stands behind it too, however soon it comes after the typing.
            pane.take_budget(budget)
            self._say_prompt()

        def go() -> None:
            # A summary, or turns that were longer than thought, may still be too much.
            if not self._too_long(pane, draft):
                pane.send(draft.whole)
            else:
                give_back()

        def give_back() -> None:
            if pane is self.active_pane and not self.prompt.draft:
                self.prompt.draft = pane.draft = draft

        def taken() -> None:
            self.prompt.remember(draft.text)
            self.prompt.clear()

        self._ask_for_room(pane, budget, pane.oldest_to_drop(budget.over), (taken, go, give_back))
        return True

    def _ask_for_room(
        self,
        pane: ChatPane,
        budget: Budget,
        oldest: tuple[str, ...],
        then: tuple[Callable[[], None], Callable[[], None], Callable[[], None]],
    ) -> None:
        """Ask how to make room.

        Args:
            pane: Whose context is too short.
            budget: What is too much for it.
            oldest: Turns that would make room; (): none may go.
            then: Done when a way was chosen, when there is room, and when there is none after all.
        """
        context = larger_context(budget)
        taken, go, fail = then

        def chosen(way: Way | None) -> None:
            if way is None:
                return
            taken()
            if way == "drop":
                pane.drop(oldest)
                go()
            elif way == "summarise":
                pane.summarise(oldest, go, fail)
            else:
                pane.enlarge(context, go)

        longest = pane.request.max_context if pane.request is not None else None
        may_drop = len(oldest) if not pane.completes else 0
        self.app.push_screen(Overflow(budget, ways(budget, may_drop, context, longest)), chosen)

    def _full(self, pane: ChatPane) -> bool:
        """Whether the context has no room for going on; then the user is asked what to do."""
        budget = pane.measure("")
        if pane.generation is not None or budget is None or budget.total < budget.context:
            return False

        def go() -> None:
            pane.go_on()

        self._ask_for_room(pane, budget, pane.oldest_to_drop(budget.over, but_last=True), (nothing, go, nothing))
        return True
