"""Nile, its annual flow at Aswan in the hundred years from 1871 to 1970: one sequence, in 10^8 cubic metres.

The classical example of a level that moves: it falls about 1898. Public domain; the numbers stand in this file.

References:
    "The Problem of the Nile: Conditional Solution to a Changepoint Problem", George W. Cobb, 1978.
    "Time Series Analysis by State Space Methods", James Durbin and Siem Jan Koopman, 2001.

"""

from __future__ import annotations

import numpy as np

from ppl_vae.data.sequences import Padded, pad

YEARS = tuple(range(1871, 1971))
"""The year of each step."""
_TEXT = """
1120 1160 963 1210 1160 1160 813 1230 1370 1140 995 935 1110 994 1020 960 1180 799 958 1140
1100 1210 1150 1250 1260 1220 1030 1100 774 840 874 694 940 833 701 916 692 1020 1050 969
831 726 456 824 702 1120 1100 832 764 821 768 845 864 862 698 845 744 796 1040 759
781 865 845 944 984 897 822 1010 771 676 649 846 812 742 801 1040 860 874 848 890
744 749 838 1050 918 986 797 923 975 815 1020 906 901 1170 912 746 919 718 714 740
"""
FLOWS = tuple(int(flow) for flow in _TEXT.split())
"""The flow of each year, in 10^8 cubic metres."""


def read() -> Padded:
    """Return the one sequence, (1, 100), of steps of one number; for a model, less its mean and over its deviation.

    >>> flows = read()
    >>> flows.x.shape, flows.shape, flows.lengths.tolist()
    ((1, 100), (100, 1), [100])
    """
    return pad([np.array(FLOWS, np.float32)])
