"""Prints the page to PDF with the Chromium of this machine. Layout for paper stands in the page's own CSS."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from orchestration.errors import UserError

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_SECONDS = 120
FLAGS = (
    "--headless=new",
    "--no-pdf-header-footer",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def write_pdf(page: Path) -> Path:
    """Print an HTML page beside itself.

    Raises:
        UserError: no Chromium on this machine, or it failed; says what to install.
    """
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise UserError(
            "report: --pdf needs Chromium (Debian: apt-get install chromium), or print the page from any browser."
        )
    target = page.with_suffix(".pdf")
    with tempfile.TemporaryDirectory(prefix="sher2-pdf-") as profile:
        printed = Path(profile) / "page.pdf"
        flags = [*FLAGS, f"--user-data-dir={profile}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        try:
            done = subprocess.run(
                [browser, *flags, f"--print-to-pdf={printed}", page.as_uri()],
                capture_output=True,
                text=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UserError(
                f"report: {browser} did not finish within {TIMEOUT_SECONDS} s. The page itself is at {page}."
            ) from None
        if not printed.exists():
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"report: {browser} wrote no PDF ({reason}). The page itself is at {page}.")
        shutil.copyfile(printed, target.with_name(f".{target.name}.tmp"))
    target.with_name(f".{target.name}.tmp").replace(target)
    return target
