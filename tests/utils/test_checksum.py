from __future__ import annotations

import numpy as np
import pytest

from brainof.utils.checksum import crc32c


def test_the_published_check_value_whatever_holds_the_bytes():
    for data in (b"123456789", memoryview(b"123456789"), np.frombuffer(b"123456789", np.uint8)):
        assert crc32c(data) == 0xE3069283  # the check value of CRC-32C (RFC 3720): corpora of any version agree
    assert crc32c(np.arange(6.0).reshape(2, 3)) == crc32c(np.arange(6.0).tobytes())


def test_an_array_in_several_pieces_is_refused():
    with pytest.raises(ValueError, match="contiguous"):
        crc32c(np.arange(6.0)[::2])
