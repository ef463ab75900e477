"""ZIP archives: members by name, and a hostile archive is refused whole."""

import io
import stat
import zipfile

import pytest

from orchestration.exports import Rejected, members
from orchestration.study import Study
from tests.unit.exports import writers

CSV = b"subject_id,visit_name,visit_on\nS1,C1D1,2024-03-01\n"


@pytest.fixture
def opened(tmp_path):
    def of(content: bytes, name: str = "clinical/export.zip", **study) -> dict[str, bytes] | None:
        path = tmp_path / "copy"
        path.write_bytes(content)
        found = members(path, name, Study.model_validate(study))
        return found if found is None else {member: b"".join(chunks) for member, chunks in found}

    return of


def archive(**changes) -> bytes:
    """One member whose entry is changed: what no archiver would write."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        entry = zipfile.ZipInfo("sv.csv")
        for key, value in changes.items():
            setattr(entry, key, value)
        file.writestr(entry, CSV)
    return out.getvalue()


def test_files_of_all_folders_are_members_and_litter_is_not(opened):
    content = writers.as_zip({"a/sv.csv": CSV, "a/": b"", "b/dm.csv": CSV, "__MACOSX/a/._sv.csv": b"x", "a/.DS_Store": b"x"})
    assert opened(content) == {"a/sv.csv": CSV, "b/dm.csv": CSV}


@pytest.mark.parametrize("content", [CSV, writers.as_xlsx({"SV": [["a"]]})], ids=["csv", "xlsx"])
def test_other_files_have_no_members(opened, content):
    assert opened(content, "clinical/export") is None


@pytest.mark.parametrize(
    ("content", "rule", "says"),
    [
        (lambda: writers.as_zip({"sv.csv": CSV * 50_000}), "too_large", "max_unpacked_mb"),
        (lambda: writers.as_zip({f"{number}.csv": CSV for number in range(60)}), "too_large", "max_members"),
        (lambda: writers.as_zip({"../sv.csv": CSV}), "path", "leads out"),
        (lambda: writers.as_zip({"a/../../sv.csv": CSV}), "path", "leads out"),
        (lambda: writers.as_zip({"/etc/sv.csv": CSV}), "path", "leads out"),
        (lambda: writers.as_zip({"C:/sv.csv": CSV}), "path", "leads out"),
        (lambda: archive(filename="a\\..\\sv.csv"), "path", "leads out"),
        (lambda: archive(filename="\0sv.csv"), "path", "no name"),
        (lambda: archive(external_attr=(stat.S_IFLNK | 0o777) << 16), "path", "link"),
        (lambda: writers.as_zip({"sv.csv": CSV, "SV.CSV": CSV}), "path", "same name"),
        (lambda: writers.as_zip({"sv.csv": CSV}).replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01").replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"), "encrypted", "password"),
        (lambda: writers.as_zip({"sv.csv": CSV}, zipfile.ZIP_LZMA), "damaged", "method"),
        (lambda: writers.as_zip({"sv.csv": CSV, "more.zip": writers.as_zip({"dm.csv": CSV})}), "nested_archive", "more.zip"),
        (lambda: writers.as_zip({"lb.csv": b"\x1f\x8b" + bytes(9)}), "nested_archive", "gzip"),
        (lambda: writers.as_zip({"__MACOSX/x": b""}), "empty", "no file"),
        (lambda: writers.as_zip({}), "empty", "no file"),
        (lambda: writers.as_zip({"sv.csv": CSV})[:-10], "damaged", "not whole"),
        (lambda: writers.as_zip({"sv.csv": CSV}, zipfile.ZIP_STORED).replace(b"S1,C1D1", b"S2,C1D1"), "damaged", "not whole"),
    ],
    ids=["bomb", "members", "up", "up-inside", "absolute", "drive", "backslash", "no-name", "link", "same-name", "encrypted", "lzma",
         "zip-in-zip", "gzip-in-zip", "litter", "empty", "cut", "checksum"],
)  # fmt: skip
def test_a_hostile_or_damaged_archive_is_refused_whole(opened, content, rule, says):
    with pytest.raises(Rejected) as refusal:
        opened(content(), ingest={"max_unpacked_mb": 2, "max_members": 50})
    assert (refusal.value.rule, says in refusal.value.message) == (rule, True), refusal.value.message
    assert "clinical/export.zip" in refusal.value.message


def test_a_member_never_unfolds_beyond_what_the_archive_says(opened):
    honest = writers.as_zip({"sv.csv": bytes(3 << 20)})
    size = (3 << 20).to_bytes(4, "little")
    assert honest.count(size) == 2
    with pytest.raises(Rejected) as refusal:
        opened(honest.replace(size, (100).to_bytes(4, "little")), ingest={"max_unpacked_mb": 2})
    assert refusal.value.rule == "damaged"


def test_a_long_member_whose_checksum_is_wrong_is_damage_too(opened):
    """Its head is whole: found out only while it is read."""
    content = writers.as_zip({"sv.csv": CSV + b"S1,C1D1,2024-03-01\n" * 1_000}, zipfile.ZIP_STORED)
    place = content.rfind(b"S1,C1D1")
    with pytest.raises(Rejected) as refusal:
        opened(content[:place] + b"S2" + content[place + 2 :])
    assert refusal.value.rule == "damaged"
