#!/bin/sh
# histogram.sh EVENTS SEED: fill a histogram with random masses, a peak over a background, and draw it.
# The same histogram goes to histogram.csv, which comes back with the job's output.
exec awk -v events="${1:-20000}" -v seed="${2:-1}" '
function normal(    i, sum) { for (i = 0; i < 12; i++) sum += rand(); return sum - 6 }
BEGIN {
    bins = 24; low = 60; high = 120; width = (high - low) / bins
    srand(seed)
    for (event = 0; event < events; event++) {
        mass = rand() < 0.4 ? 91.2 + 2.5 * normal() : low - 40 * log(1 - rand())
        if (mass < low || mass >= high) continue
        bin = int((mass - low) / width)
        if (++count[bin] > most) most = count[bin]
        entries++; sum += mass
    }
    printf "dimuon mass, %d events, %d entries, mean %.1f GeV\n\n", events, entries, sum / entries
    print "low,high,entries" > "histogram.csv"
    for (bin = 0; bin < bins; bin++) {
        bar = ""
        for (i = 0; i < 50 * count[bin] / most; i++) bar = bar "#"
        printf "%6.1f | %-50s %d\n", low + bin * width, bar, count[bin]
        printf "%g,%g,%d\n", low + bin * width, low + (bin + 1) * width, count[bin] > "histogram.csv"
    }
}'
