"""Two estimates of the signal-to-noise ratio beside the true one: ours by percentiles, and WADA-SNR.

    python tests/benchmarks/snr_estimates.py ../shared/data

WADA-SNR (Kim and Stern, Interspeech 2008) takes speech for Gamma-distributed with shape 0.4 and noise for
normal, and reads the ratio off log E|z| - E log|z|. Its table is computed here by quadrature.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy import special

from whisper_peft.data.survey.acoustics import frame_energies, snr_db

Samples = NDArray[np.float32]

SHAPE = 0.4
TABLE_DB = np.arange(-20.0, 101.0)
SNRS_DB = (0, 5, 10, 15, 20, 30)
CORPORA = ("prompts/en", "librispeech/LibriSpeech/heldout-clean", "accented/test")
CLIPS = 60


def wada_table() -> NDArray[np.float64]:
    """Return log E|z| - E log|z| for each ratio of `TABLE_DB`."""
    middles = (np.arange(4000) + 0.5) / 4000
    weights = middles**5 / (middles**5).sum()
    speech = special.gammaincinv(SHAPE, middles**6)  # finer towards zero, where the logarithm is steep
    means = np.linspace(0, 30, 601)
    terms = np.arange(900)
    half = means[:, None] ** 2 / 2
    poisson = np.exp(-half + special.xlogy(terms, half) - special.gammaln(terms + 1))
    log_normal = 0.5 * (np.log(2) + poisson @ special.digamma(terms + 0.5))
    table = []
    for ratio_db in TABLE_DB:
        mean = speech / np.sqrt(SHAPE * (SHAPE + 1) / 10 ** (ratio_db / 10))
        size = np.sqrt(2 / np.pi) * np.exp(-(mean**2) / 2) + mean * special.erf(mean / np.sqrt(2))
        far = np.log(np.maximum(mean, 1)) - 0.5 / np.maximum(mean, 1) ** 2
        logarithm = np.where(mean > 30, far, np.interp(mean, means, log_normal))
        table.append(np.log(weights @ size) - weights @ logarithm)
    return np.array(table)


def wada_snr_db(samples: Samples, table: NDArray[np.float64]) -> float:
    """Return the ratio that WADA-SNR reads off a recording; digital zeros are left out."""
    sizes = np.abs(samples[samples != 0])
    return float(np.interp(np.log(sizes.mean()) - np.log(sizes).mean(), table, TABLE_DB))


def mixed(speech: Samples, noise: Samples, ratio_db: float) -> Samples:
    """Return speech with noise at a ratio of their powers, rounded to 16 bits at half scale."""
    scale = np.sqrt(np.mean(speech**2) / np.mean(noise**2) / 10 ** (ratio_db / 10))
    both: Samples = (np.round((speech + scale * noise) * 2**14) / 2**15).astype(np.float32)
    return both


def noises(folder: Path) -> dict[str, Samples]:
    """Return white noise and four backgrounds, a minute of each."""
    rng = np.random.default_rng(0)
    found = {"white": rng.normal(size=16_000 * 60).astype(np.float32)}
    for name in ("city", "rain", "coffee-shop", "train"):
        samples, _ = soundfile.read(folder / f"{name}.flac", dtype="float32", always_2d=True)
        found[name] = samples.mean(axis=1)
    return found


def cell(values: list[float]) -> str:
    """Return median and standard deviation."""
    return f"{np.median(values):.1f} ± {np.std(values):.1f}"


def main() -> None:
    """Print a Markdown table of both estimates."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    table = wada_table()
    print("| speech | noise | estimate |" + "".join(f" {ratio} dB |" for ratio in SNRS_DB))
    print("|---|---|---|" + "---|" * len(SNRS_DB))
    for corpus in CORPORA:
        files = sorted((data / corpus).rglob("*.flac"))[:CLIPS]
        clips = [soundfile.read(file, dtype="float32")[0] for file in files]
        clips = [clip - clip.mean() for clip in clips if len(clip) > 16_000]
        for name, noise in noises(data / "noise").items():
            mixes = {
                ratio: [mixed(clip, np.resize(noise, len(clip)), ratio) for clip in clips]
                for ratio in SNRS_DB
            }
            ours = {
                ratio: [found for one in of if (found := snr_db(frame_energies(one))) is not None]
                for ratio, of in mixes.items()
            }
            wada = {ratio: [wada_snr_db(one, table) for one in of] for ratio, of in mixes.items()}
            for label, values in (("ours", ours), ("WADA", wada)):
                print(f"| {corpus} | {name} | {label} |" + "".join(f" {cell(values[r])} |" for r in SNRS_DB))


if __name__ == "__main__":
    main()
