"""Video files and frames: decoding, encoding, masks, and transfer of detail. numpy only."""
