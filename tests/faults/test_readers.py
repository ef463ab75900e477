"""Readers never see an error or a mixed state, however often the published file is replaced under them."""

import shutil

from tests.faults.readers import Readers, publish_again_and_again


def test_readers_see_whole_publications_only_while_one_replaces_the_other(place):
    home = place.restore("published")
    prepared = []
    for name in ("one", "other"):
        shutil.copy(home.settings.warehouse, home.settings.build / f"{name}.duckdb")
        (home.settings.build / f"{name}.duckdb").chmod(0o644)
        prepared.append(home.settings.build / f"{name}.duckdb")
    publish_again_and_again(home.settings, prepared, 0, range(1))
    with Readers(home.settings, 4) as readers:
        publish_again_and_again(home.settings, prepared, 0.3, range(1, 7))
    assert [fault for seen in readers.seen for fault in seen.faults] == []
    assert all(seen.looks for seen in readers.seen)
    assert len({build for seen in readers.seen for build in seen.builds}) > 1
