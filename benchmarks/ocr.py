"""The detector and the recogniser of rapidocr_onnxruntime made faster: docs/onnx.md.

Run by `make bench-ocr ARGS="-o OUT"`, with rapidocr_onnxruntime and what it needs. Pages are drawn
(`text_pictures.py`): some to calibrate on, others to choose by, others again to test with. Nothing
is labelled: what the networks of the package found is what is to be found again. Each network is
made as fast as loses at most so many in a hundred lines of the pages to choose by; the
test pages choose nothing. A line stays as it was where a box overlaps the old one by 0.8 of their
union and holds the same text. Files in OUT are not made again.
"""

import argparse
import copy
import json
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import rapidocr_onnxruntime
import torch
from text_pictures import Page, drawn_page
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.deploy.latency import interleaved_times
from tensorpress.deploy.runtimes.processor import machine
from tensorpress.progress import track

OVERLAP = 0.8
WINDOW, LINE = 256, 240
"""Pixels: the side of what the detector is calibrated on, and the width of a line."""
WINDOWS, LINES = 2, 2
"""Of each page that is calibrated on."""
TIMED = {"det": (1, 3, 736, 768), "rec": (6, 3, 48, 480)}
"""Inputs as they are for a page."""
Found = list[tuple[Any, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--calibration", type=int, default=24, help="pages to calibrate on")
    parser.add_argument("--choosing", type=int, default=24, help="pages to choose by")
    parser.add_argument("--test", type=int, default=40, help="pages to test with")
    parser.add_argument("--det", type=float, default=2.7, help="points the detector may lose")
    parser.add_argument(
        "--rec", type=float, default=0, help="points the recogniser may lose; 0: as it is"
    )
    parser.add_argument(
        "--methods", default="tucker2,spatial-svd,depthwise-separable", help="to choose from"
    )
    parser.add_argument("--only", help="det or rec: make this network's files, and no more")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(given.threads)
    sizes = (given.calibration, given.choosing, given.test)
    starts = (0, 10_000, 20_000)
    parts = [
        [drawn_page(start + number) for number in range(size)]
        for start, size in zip(starts, sizes, strict=True)
    ]
    calibration, choosing, test = parts
    original = engine(given)
    models = Path(rapidocr_onnxruntime.__file__).parent / "models"
    paths = {name: next(models.glob(f"*_{name}_*.onnx")) for name in ("det", "rec")}
    rows = {"det": windows, "rec": lines}
    scores = {"det": det_score, "rec": rec_score}
    drops = {"det": given.det, "rec": given.rec}
    made = {name: given.output / f"{name}-{drop:g}.onnx" for name, drop in drops.items()}
    made |= {name: paths[name] for name, drop in drops.items() if not drop}
    for name, target in made.items():
        if given.only in (None, name) and not target.exists():
            fed, score = rows[name](original, calibration), scores[name](given, choosing)
            compress(paths[name], target, fed, score, drops[name], given)
    if given.only:
        return
    wanted = [read(original, page) for page in track(test, "original")]
    print(f"{machine('cpu')}; {sum(map(len, wanted))} test lines", flush=True)
    row = tested(original, made, paths, test, wanted, given)
    print(json.dumps(row), flush=True)
    content = {**vars(given), "machine": machine("cpu"), "row": row}
    (given.output / "rows.json").write_text(json.dumps(content, indent=1, default=str) + "\n")


def engine(given: argparse.Namespace, det: Path | None = None, rec: Path | None = None) -> Any:
    """The package's own, with other networks."""
    asked: dict[str, Any] = {"intra_op_num_threads": given.threads}
    asked |= {} if det is None else {"det_model_path": str(det)}
    asked |= {} if rec is None else {"rec_model_path": str(rec)}
    return rapidocr_onnxruntime.RapidOCR(**asked)


def compress(
    source: Path,
    target: Path,
    rows: Tensor,
    score: Callable[[nn.Module], float],
    drop: float,
    given: argparse.Namespace,
) -> None:
    start = time.perf_counter()
    budget = tp.Budget(max_drop=drop, runtime="onnxruntime", threads=given.threads)
    account = tp.compress_onnx(
        source, target, methods=given.methods.split(","), budget=budget, calibration=rows,
        score=score, skip_first=False, skip_output=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    target.with_suffix(".txt").write_text(f"{account}\n{seconds:.0f} seconds\n")
    print(
        f"{target.name}: PCR {account.pcr:.2f}, FCR {account.fcr:.2f}, {seconds:.0f} s", flush=True
    )


def read(made: Any, page: Page) -> Found:
    """The boxes and texts on a page."""
    answer, _ = made(page.pixels)
    return [(np.array(box, np.float32), text) for box, text, _ in answer or []]


def kept(wanted: Found, found: Found, *, texts: bool = True) -> int:
    """How many lines are as they were."""
    left, same = list(found), 0
    for box, text in wanted:
        overlaps = [overlap(box, other) for other, _ in left]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if best >= 0 and overlaps[best] >= OVERLAP:
            same += not texts or left[best][1] == text
            del left[best]
    return same


def overlap(one: Any, other: Any) -> float:
    """The area of two boxes in common over that of both."""
    common = float(cv2.intersectConvexConvex(one, other)[0])
    both = cv2.contourArea(one) + cv2.contourArea(other) - common
    return common / both if both else 0.0


def det_inputs(made: Any, page: Page) -> Any:
    """What the detector is fed for a page."""
    detector = made.text_det
    return detector.get_preprocess(max(page.pixels.shape[:2]))(page.pixels)


def crops(made: Any, page: Page) -> list[Any]:
    """The lines of a page, cut out as the recogniser takes them."""
    image, _ = made.maybe_add_letterbox(page.pixels, {})
    boxes, _ = made.auto_text_det(image)
    cut, _, _ = made.text_cls(made.get_crop_img_list(image, boxes))
    return cut


def windows(made: Any, pages: Sequence[Page]) -> Tensor:
    """Parts of pages as the detector takes them, (N, 3, 256, 256)."""
    draw = np.random.default_rng(0)
    found = []
    for page in pages:
        fed = det_inputs(made, page)[0]
        for _ in range(WINDOWS):
            top, left = (int(draw.integers(0, size - WINDOW)) for size in fed.shape[1:])
            found.append(fed[:, top : top + WINDOW, left : left + WINDOW])
    return torch.from_numpy(np.stack(found))


def lines(made: Any, pages: Sequence[Page]) -> Tensor:
    """Lines as the recogniser takes them, (N, 3, 48, 240): of longer ones what fits."""
    draw = random.Random(0)
    found = []
    for page in pages:
        cut_out = crops(made, page)
        for cut in draw.sample(cut_out, min(LINES, len(cut_out))):
            ratio = max(cut.shape[1] / cut.shape[0], LINE / 48)
            found.append(made.text_rec.resize_norm_img(cut, ratio)[:, :, :LINE])
    return torch.from_numpy(np.stack(found))


def det_score(given: argparse.Namespace, pages: Sequence[Page]) -> Callable[[nn.Module], float]:
    """The share of lines in percent that are found and read as with the original detector."""
    made = engine(given)
    wanted = [read(made, page) for page in pages]

    def score(net: nn.Module) -> float:
        made.text_det.infer = run_by(net)
        same = sum(kept(known, read(made, page)) for known, page in zip(wanted, pages, strict=True))
        return 100 * same / sum(map(len, wanted))

    return score


def rec_score(given: argparse.Namespace, pages: Sequence[Page]) -> Callable[[nn.Module], float]:
    """The share of lines in percent that a recogniser reads as the original does."""
    made = engine(given)
    cut = [crop for page in pages for crop in crops(made, page)]
    wanted = [text for text, *_ in made.text_rec(cut)[0]]
    other = copy.copy(made.text_rec)

    def score(net: nn.Module) -> float:
        other.session = run_by(net)
        found = [text for text, *_ in other(cut)[0]]
        return 100 * sum(a == b for a, b in zip(wanted, found, strict=True)) / len(wanted)

    return score


def run_by(net: nn.Module) -> Callable[[Any], list[Any]]:
    def run(x: Any) -> list[Any]:
        with torch.inference_mode():
            return [net(torch.from_numpy(x)).numpy()]

    return run


def tested(
    original: Any,
    made: dict[str, Path],
    paths: dict[str, Path],
    pages: Sequence[Page],
    wanted: Sequence[Found],
    given: argparse.Namespace,
) -> dict[str, Any]:
    """Lines as they were, and how many times as fast each network and a page are."""
    small = engine(given, made["det"], made["rec"])
    read_again = [read(small, page) for page in track(pages, "compressed")]
    same = sum(kept(a, b) for a, b in zip(wanted, read_again, strict=True))
    boxes = sum(kept(a, b, texts=False) for a, b in zip(wanted, read_again, strict=True))
    count = sum(map(len, wanted))
    row: dict[str, Any] = {"lines": count, "kept": same / count, "boxes": boxes / count}
    for name, path in paths.items():
        x = np.random.default_rng(0).standard_normal(TIMED[name]).astype(np.float32)
        row[f"{name} seconds"] = in_turns([file_call(p, x, given) for p in (path, made[name])])
    page = pages[0].pixels
    row["page seconds"] = in_turns([partial(original, page), partial(small, page)])
    return row


def in_turns(calls: Sequence[Callable[[], object]]) -> list[float]:
    return [float(np.median(taken)) for taken in interleaved_times(calls, 9)]


def file_call(path: Path, x: Any, given: argparse.Namespace) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = given.threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return partial(session.run, None, {session.get_inputs()[0].name: x})


if __name__ == "__main__":
    main()
