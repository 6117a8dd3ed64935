"""Letters of 5 x 7 dots, as on character displays: enough to label a picture without a font file."""

from __future__ import annotations

import numpy as np

WIDTH, HEIGHT, ADVANCE = 5, 8, 6
# Character, then its five columns from left to right; the lowest bit is the top row, the eighth row is for descenders.
_TABLE = """\
! 00 00 5f 00 00
% 23 13 08 64 62
( 00 1c 22 41 00
) 00 41 22 1c 00
* 2a 1c 7f 1c 2a
+ 08 08 3e 08 08
, 00 80 70 30 00
- 08 08 08 08 08
. 00 00 60 60 00
/ 20 10 08 04 02
0 3e 51 49 45 3e
1 00 42 7f 40 00
2 42 61 51 49 46
3 21 41 45 4b 31
4 18 14 12 7f 10
5 27 45 45 45 39
6 3c 4a 49 49 30
7 01 71 09 05 03
8 36 49 49 49 36
9 06 49 49 29 1e
: 00 00 14 00 00
< 00 08 14 22 41
= 14 14 14 14 14
> 00 41 22 14 08
? 02 01 51 09 06
A 7c 12 11 12 7c
B 7f 49 49 49 36
C 3e 41 41 41 22
D 7f 41 41 41 3e
E 7f 49 49 49 41
F 7f 09 09 09 01
G 3e 41 49 49 7a
H 7f 08 08 08 7f
I 00 41 7f 41 00
J 20 40 41 3f 01
K 7f 08 14 22 41
L 7f 40 40 40 40
M 7f 02 0c 02 7f
N 7f 04 08 10 7f
O 3e 41 41 41 3e
P 7f 09 09 09 06
Q 3e 41 51 21 5e
R 7f 09 19 29 46
S 26 49 49 49 32
T 01 01 7f 01 01
U 3f 40 40 40 3f
V 1f 20 40 20 1f
W 3f 40 38 40 3f
X 63 14 08 14 63
Y 07 08 70 08 07
Z 61 51 49 45 43
[ 00 7f 41 41 00
] 00 41 41 7f 00
_ 40 40 40 40 40
a 20 54 54 54 78
b 7f 48 44 44 38
c 38 44 44 44 28
d 38 44 44 48 7f
e 38 54 54 54 18
f 08 7e 09 01 02
g 18 a4 a4 a4 7c
h 7f 08 04 04 78
i 00 44 7d 40 00
j 40 80 84 7d 00
k 7f 10 28 44 00
l 00 41 7f 40 00
m 7c 04 18 04 78
n 7c 08 04 04 78
o 38 44 44 44 38
p fc 24 24 24 18
q 18 24 24 28 fc
r 7c 08 04 04 08
s 48 54 54 54 24
t 04 3f 44 40 20
u 3c 40 40 20 7c
v 1c 20 40 20 1c
w 3c 40 30 40 3c
x 44 28 10 28 44
y 1c a0 a0 a0 7c
z 44 64 54 4c 44
"""
_COLUMNS = {line[0]: bytes.fromhex(line[2:]) for line in _TABLE.splitlines()}


def width_of(text: str, scale: int = 1) -> int:
    """Pixels that a line of text is wide."""
    return max(0, len(text) * ADVANCE - 1) * scale


def dots_of(text: str, scale: int = 1) -> np.ndarray:
    """A line of text as H x W bool; a character without a picture is a gap."""
    dots = np.zeros((HEIGHT, max(1, len(text) * ADVANCE - 1)), bool)
    for place, character in enumerate(text):
        columns = np.frombuffer(_COLUMNS.get(character, bytes(WIDTH)), np.uint8)
        dots[:, place * ADVANCE : place * ADVANCE + WIDTH] = (columns[None] >> np.arange(HEIGHT)[:, None]) & 1
    return dots.repeat(scale, axis=0).repeat(scale, axis=1)
