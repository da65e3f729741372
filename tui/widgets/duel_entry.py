"""An answer as another variant sees it: the places where it would have gone on otherwise are marked."""

from __future__ import annotations

from backends.duel import Duel
from backends.engines.engine import Alternative
from tui.widgets.passage import Passage, quoted, share


def duel_passage(duel: Duel) -> Passage:
    """The answer token by token; the token cursor walks over the marked ones."""
    passage = Passage("duel")
    passage.begin("duel")
    passage.add("duel", "\n", generated=True)
    thinks = any(score.reasoning for score in duel.scores)
    thinking: bool | None = None
    for place, score in enumerate(duel.scores):
        if thinks and score.reasoning != thinking:
            thinking = score.reasoning
            edge = "" if thinking else "\n\n"
            title = "thinking" if thinking else "answer"
            passage.add("duel", f"{edge}{title}: {duel.part(reasoning=thinking).short_words}\n", generated=False)
        differs = duel.differs(place)
        alternatives = (score.first, Alternative(score.text, score.token, score.logprob)) if differs else ()
        passage.add("duel", score.text, generated=True, alternatives=alternatives, differs=differs)
    if not any(map(duel.differs, range(len(duel.scores)))):
        passage.note = "the first choice is the same at every place"
    else:
        passage.note = "underlined: its own first choice is another one here · tab, then ← → walk over them"
    return passage


def spot_words(passage: Passage) -> str:
    """What both variants say at the place under the token cursor; empty: there is none."""
    if passage.spot is None:
        return ""
    choices = passage.parts[passage.spot].alternatives
    if len(choices) < 2:
        return ""
    first, given = choices[0], choices[1]
    return (
        f"its first choice here: {quoted(first.text)} {share(first) * 100:.0f} %\n"
        f"       the answer has: {quoted(given.text)} {share(given) * 100:.0f} %"
    )


def duel_text(duel: Duel, asked: str, title: str) -> str:
    """The comparison as plain text: prompt, answer, both figures, and each place with another first choice.

    Args:
        title: The model that scored the answer.
    """
    answer = "".join(score.text for score in duel.scores if not score.reasoning).strip()
    lines = [asked, "", answer, "", f"{title}: {duel.words}"]
    for place, score in enumerate(duel.scores):
        if duel.differs(place):
            first, given = score.first, Alternative(score.text, score.token, score.logprob)
            before = "".join(one.text for one in duel.scores[max(0, place - 4) : place]).strip()
            lines.append(
                f"after {quoted(before)}: {quoted(first.text)} {share(first) * 100:.0f} % instead of "
                f"{quoted(given.text)} {share(given) * 100:.0f} %"
            )
    return "\n".join(lines) + "\n"
