"""Tables of human records that reach further than the shipped ones: numbers 63 to 89 of upstream's leaderboard."""

import csv
import shutil
from pathlib import Path

from slurm_bench.effects import human_records

LATER = (
    (63, "2026-01-26-UntieValueEmbeddings", "2026-01-26", "1.650", "people", "several tokens"),
    (64, "2026-01-30_MimeticValueOutput", "2026-01-30", "1.630", "people", "several tokens"),
    (65, "2026-01-30_VeFused", "2026-01-30", "1.613", "people", "several tokens"),
    (66, "2026-01-31_Torch210", "2026-01-31", "1.595", "people", "several tokens"),
    (67, "2026-01-24_ImprovedLMHead", "2026-01-31", "1.540", "people", "several tokens"),
    (68, "2026-01-31-BigramHashH2D", "2026-01-31", "1.535", "people", "several tokens"),
    (69, "2026-02-02_KernelTuning", "2026-02-02", "1.528", "people+ai", "several tokens"),
    (70, "2026-02-03_VeTuned", "2026-02-03", "1.521", "people", "several tokens"),
    (71, "2026-02-06_SparseBigramGradient", "2026-02-06", "1.516", "people", "several tokens"),
    (72, "2026-02-10_ShortWindow", "2026-02-10", "1.496", "people+ai", "several tokens"),
    (73, "2026-02-12_ParallelResiduals", "2026-02-12", "1.485", "people", "several tokens"),
    (74, "2026-02-16_FlattenForward", "2026-02-16", "1.468", "people", "several tokens"),
    (75, "2026-02-23_CrossEntropyKernel", "2026-02-23", "1.453", "people", "several tokens"),
    (76, "2026-02-28_TransposeCopyBackward", "2026-02-28", "1.446", "people", "several tokens"),
    (77, "2026-03-06_SimplifyHC", "2026-03-06", "1.435", "people", "several tokens"),
    (78, "2026-03-22_VarlenMaxDocs", "2026-03-22", "1.426", "people", "several tokens"),
    (79, "2026-04-04_FuseCEFwdAndBwd", "2026-04-04", "1.411", "people", "several tokens"),
    (80, "2026-04-08_PairedHeadMuon", "2026-04-08", "1.406", "people", "several tokens"),
    (81, "2026-04-22_MuddFormer", "2026-04-22", "1.363", "people", "several tokens"),
    (82, "2026-04-29_XSAGatedLayers", "2026-04-29", "1.353", "people", "several tokens"),
    (83, "2026-05-20_BigramsSignTrick", "2026-05-20", "1.328", "people", "several tokens"),
    (84, "2026-05-19_FP8MLPUpProj", "2026-05-21", "1.320", "people", "several tokens"),
    (85, "2026-05-27-MuddGatedAndDC", "2026-05-27", "1.271", "people", "several tokens"),
    (86, "2026-05-27_XSARewrite", "2026-05-27", "1.266", "people", "several tokens"),
    (87, "2026-06-11_RecursiveFromBest", "2026-06-11", "1.256", "people+ai", "several tokens"),
    (88, "2026-07-13_PrefixTokenPrediction", "2026-07-13", "1.243", "people", "several tokens and a prefix"),
    (89, "2026-07-17_FP8DownProjection", "2026-07-17", "1.23", "people", "several tokens and a prefix"),
)
"""Number, record, date, minutes on the leaderboard, made by, objective."""


def write(folder: Path) -> Path:
    """Write the shipped tables with those of the later records that they lack, and return their folder."""
    folder.mkdir(exist_ok=True)
    shipped = {record.name for record in human_records.load()}
    for table in human_records.SHIPPED.glob("*.tsv"):
        shutil.copyfile(table, folder / table.name)
    for number, record, date, minutes, made_by, objective in (row for row in LATER if row[1] not in shipped):
        placed = {"leaderboard_number": str(number), "date": date, "leaderboard_minutes": minutes, "made_by": made_by}
        _append(folder / "human_records.tsv", {"record": record, **placed})
        _append(
            folder / "human_rules.tsv", {"record": record, "warm_up": "sampled transitions", "objective": objective}
        )
    return folder


def _append(table: Path, row: dict[str, str]) -> None:
    with table.open(newline="") as stream:
        columns = next(csv.reader(stream, delimiter="\t"))
    with table.open("a", newline="") as stream:
        csv.DictWriter(stream, columns, restval="", delimiter="\t", lineterminator="\n").writerow(row)
