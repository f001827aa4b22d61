"""Where the disc is in a decoded picture."""

# Pixels that are brighter than the background.
BRIGHT = bytes(luma > 80 for luma in range(256))


def bounding_box(frame):
    """Its first and last pixel in each direction (left, right, top, bottom), and the width and height of the picture."""
    luma = frame.planes[0]
    bright = bytes(luma).translate(BRIGHT)
    rows = [bright[at : at + frame.width] for at in range(0, frame.height * luma.line_size, luma.line_size)]
    lit = [y for y, row in enumerate(rows) if 1 in row]
    left = min(rows[y].index(1) for y in lit)
    right = max(rows[y].rindex(1) for y in lit)
    return left, right, lit[0], lit[-1], frame.width, frame.height
