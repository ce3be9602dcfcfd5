"""Recordings with a text beside them."""

from pathlib import Path

from whisper_peft.data.sources.opening import open_source
from whisper_peft.recipe.sections import DataSection


def test_what_has_no_partner_or_cannot_be_read_is_counted(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "deep/c.flac", ".hidden.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_bytes("\ufeffOne\r\ntwo.\r\n".encode())
    (tmp_path / "deep" / "c.txt").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "README.txt").write_text("About.")
    source = open_source(DataSection(source=tmp_path), "all")
    assert [(row.id, row.text) for row in source] == [("a", "One two."), ("b", "")]
    assert source.skipped == {"missing": 1, "not-utf8": 1}


def test_a_link_to_the_folder_itself_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / "a.txt").write_text("A")
    (tmp_path / "again").symlink_to(tmp_path)
    assert [row.id for row in open_source(DataSection(source=tmp_path), "all")] == ["a"]
