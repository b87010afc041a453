"""The paper's claims, each as pairs of cells, and what the records say of them: the card on the book's first page."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import pandas as pd

from ran.study.comparison import pooled_test
from ran.study.experiments import Cell, cell
from ran.study.labels import length
from ran.study.tables import Records, mean_error, of_cell

LEVEL = 0.05  # a lead counts where chance in the test images explains it with less probability


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: in every pair of cells of `table`, the second makes fewer errors than the first.

    `shown` is the pair whose numbers stand on the card, and `page` the chapter that measures it.
    """

    text: str
    table: str
    pairs: tuple[tuple[str, str], ...]
    shown: int
    page: str


CARD = (
    Claim(
        "Attention residual learning beats naive attention learning (Attention-164)",
        "arl_vs_nal",
        tuple((f"attention-{depth}-nal", f"attention-{depth}-arl") for depth in (56, 92, 128, 164)),
        3,
        "06_arl_against_nal",
    ),
    Claim(
        "Mixed attention, f1, beats channel attention, f2, and spatial attention, f3 (f2, f1)",
        "attention_types",
        tuple((f"attention-56-{gate}", "attention-56-mixed") for gate in ("channel", "spatial")),
        0,
        "07_attention_types_measured",
    ),
    Claim(
        "An encoder-decoder as mask beats local convolutions",
        "mask_structures",
        (("attention-56-local-convolutions", "attention-56-encoder-decoder"),),
        0,
        "08_mask_structures",
    ),
    Claim(
        "Attention-92 is more robust to noisy labels than ResNet-164 (half of them wrong)",
        "noisy_labels",
        tuple((f"{noise}-resnet-164", f"{noise}-attention-92") for noise in (0.1, 0.3, 0.5, 0.7)),
        2,
        "09_noisy_labels",
    ),
    Claim(
        "Attention networks beat residual networks of their size (ResNet-164, Attention-92)",
        "cifar",
        (("cifar10-resnet-164", "cifar10-attention-92"), ("cifar10-resnet-1001", "cifar10-attention-236")),
        0,
        "10_state_of_the_art",
    ),
    Claim(
        "An attention network beats a wider network of seven times its size (WRN-28-10, Attention-236)",
        "cifar",
        (("cifar10-wrn-28-10", "cifar10-attention-236"),),
        0,
        "10_state_of_the_art",
    ),
)


def lead(worse: Records, better: Records) -> int:
    """1 where `better` makes fewer errors than `worse` and chance in the test images does not explain it; -1 the other
    way round; 0 where neither is so. Runs are compared seed by seed, on the same images.
    """
    gap = mean(each["test_error"] for each in worse) - mean(each["test_error"] for each in better)
    by_seed = {each["config"]["seed"]: each for each in better}
    pairs = [(each, by_seed[each["config"]["seed"]]) for each in worse if each["config"]["seed"] in by_seed]
    test = pooled_test(pairs)
    if test is None or test.p >= LEVEL:
        return 0
    return 1 if gap > 0 else -1


def verdict(leads: Sequence[int]) -> str:
    """One word on a claim, by `lead` of all pairs that have records."""
    ahead, behind = leads.count(1), leads.count(-1)
    if not leads:
        return "open"
    if ahead and behind:
        return "mixed"
    if ahead:
        return "holds" if 2 * ahead >= len(leads) else "partly"
    return "contradicted" if behind else "unseen"


def card(records: Records) -> pd.DataFrame:
    """The paper's claims as a table of MyST text: the paper's errors in %, the recorded ones, and a verdict.

    Where the small study has a pair, the verdict is by it, since it has the most seeds; otherwise by CIFAR-10.
    """
    rows = []
    for claim in CARD:
        cells = [tuple(cell(claim.table, name) for name in pair) for pair in claim.pairs]
        leads = {
            name: [lead(*both) for pair in cells if (both := _both(pair, records, name))] for name in ("short", "study")
        }
        one = cells[claim.shown]
        judged = leads["study"] or leads["short"]
        rows.append(
            {
                "The paper's claim": claim.text,
                "Verdict": f"[{verdict(judged)}](executed/{claim.page})"
                + (f": ahead in {judged.count(1)} of {len(judged)} pairs" if judged else ""),
                "Paper": f"{one[0].error:.2f} → {one[1].error:.2f}",
                "CIFAR-10, here": _shown(one, records, "short"),
                "Small study": _shown(one, records, "study"),
            }
        )
    return pd.DataFrame(rows)


def _both(pair: tuple[Cell, ...], records: Records, profile: str) -> tuple[Records, Records] | None:
    """The longest recorded runs of both cells; None where one has no record."""
    groups = [of_cell(each, records, profile) for each in pair]
    if not all(groups):
        return None
    shared = {length(group[0]) for group in groups[0]} & {length(group[0]) for group in groups[1]}
    if not shared:
        return None
    longest = max(shared, key=lambda name: max(_epochs(g) for g in groups[0] if length(g[0]) == name))
    first, second = ([g for g in found if length(g[0]) == longest][0] for found in groups)
    return first, second


def _epochs(group: Records) -> int:
    return len(group[0]["epochs"])


def _shown(pair: tuple[Cell, ...], records: Records, profile: str) -> str:
    both = _both(pair, records, profile)
    if both is None:
        return "not run"
    counts = " and ".join(str(count) for count in dict.fromkeys(len(group) for group in both))
    seeds = "1 seed" if counts == "1" else f"{counts} seeds"
    return f"{mean_error(both[0])} → {mean_error(both[1])} ({_epochs(both[0])} epochs, {seeds})"
