# SPDX-License-Identifier: BSD-3-Clause
"""Tables, ratios and the plot."""

from statistics import median


SIZE_NAMES = {"64": "64-byte frames", "imix": "IMIX", "1500": "1 500-byte packets"}


def headline(about):
    return (f"{about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, {about['system']}, kernel "
            f"{about['kernel']}, DPDK {about['dpdk']}, {about['date']}")


def ratio(ours, theirs):
    """Round by round."""
    each = [a / b for a, b in zip(ours, theirs)]
    return {"median": median(each), "min": min(each), "max": max(each)}


def show_ratio(found):
    return f"{found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f})"


def spread(values, digits):
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(head, lines):
    return "\n".join(["| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *lines]])


FWD_DNAT = "fwd-dnat"


def is_compared(row, peer):
    """fwd with each peer, whose workload is always dnat, and fwd's other workloads with its own dnat."""
    if row["system"] != "fwd" or any(row[key] != peer[key] for key in ("flows", "packet", "workers")):
        return False
    if peer["system"] != "fwd":
        return True
    return row["workload"] != "dnat" == peer["workload"] and row["protocol"] == peer["protocol"]


def ratios(rows):
    """Round by round."""
    result = []
    for row in rows:
        for peer in rows:
            if not is_compared(row, peer):
                continue
            against = FWD_DNAT if peer["system"] == "fwd" else peer["system"]
            result.append({"against": against, "workload": row["workload"], "protocol": row["protocol"],
                           "flows": row["flows"], "packet": row["packet"], "workers": row["workers"]} |
                          ratio(row["mpps"], peer["mpps"]))
    return result


def name_of(row):
    return f"{row['system']} {row['workload']} {row['protocol']}" if row["system"] == "fwd" else row["system"]


def by_workers(row, rows):
    """By how much more workers are faster than one: of medians, since their rounds were not the same."""
    same = ("system", "workload", "protocol", "flows", "packet")
    one = next((r for r in rows if r["workers"] == 1 and all(r[key] == row[key] for key in same)), None)
    return f"{median(row['mpps']) / median(one['mpps']):.2f}" if one else ""


def tables(rows, all_ratios):
    lines = []
    for flows, packet, workers in sorted({(r["flows"], r["packet"], r["workers"]) for r in rows},
                                         key=lambda k: (k[1], k[2], k[0])):
        here = [r for r in rows if (r["flows"], r["packet"], r["workers"]) == (flows, packet, workers)]
        peers = [r["system"] for r in here if r["system"] != "fwd"]
        if any(is_compared(row, peer) and peer["system"] == "fwd" for row in here for peer in here):
            peers.append(FWD_DNAT)
        last = ["/ 1 worker"] if workers > 1 else []
        title = f"{flows:,}".replace(",", " ") + f" sessions, {SIZE_NAMES[packet]}, {workers} worker"
        lines += ["", title + ("s" if workers > 1 else ""), "",
                  f"| system | Mpps, median (range) | {' | '.join(['/ ' + p for p in peers] + last)} |",
                  f"| --- | --- |{' --- |' * (len(peers) + len(last))}"]
        for row in here:
            cells = []
            for peer in peers:
                found = next((x for x in all_ratios if x["against"] == peer and row["system"] == "fwd"
                              and all(x[k] == row[k] for k in ("workload", "protocol", "flows", "packet", "workers"))),
                             None)
                cells.append(show_ratio(found) if found else "")
            cells += [by_workers(row, rows)] if last else []
            lines.append(f"| {name_of(row)} | {spread(row['mpps'], 2)} | {' | '.join(cells)} |")
    return "\n".join(lines)


COLOURS = {"fwd": "#c1121f", "testpmd-io": "#8d99ae", "testpmd-5tswap": "#577590", "testpmd-csum": "#1d3557",
           "ovs-dpdk": "#2a9d8f", "nftables": "#e09f3e"}


def plot(rows, caption):
    """Throughput over the number of flows, both logarithmic, one line a system: an SVG."""
    from math import log10
    packet, workers = rows[0]["packet"], rows[0]["workers"]
    lines = {}
    for row in rows:
        if (row["packet"], row["workers"]) == (packet, workers) and row["protocol"] == "udp":
            lines.setdefault(name_of(row).removesuffix(" udp"), []).append((row["flows"], row["mpps"]))
    flows = sorted({flows for points in lines.values() for flows, _ in points})
    rates = [rate for points in lines.values() for _, each in points for rate in each]
    left, right, top, bottom = 70, 560, 40, 400
    low, high = 10 ** int(log10(min(rates)) - (min(rates) < 1)), max(rates) * 1.2
    span = max(log10(flows[-1] / flows[0]), 1e-9)
    x = lambda value: left + 20 + (right - left - 40) * log10(value / flows[0]) / span
    y = lambda value: bottom - (bottom - top) * log10(value / low) / log10(high / low)
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="760" height="470" font-family="sans-serif" font-size="13">',
           '<rect width="760" height="470" fill="white"/>',
           f'<text x="{left}" y="22" font-size="15">Million packets a second on {workers} core{"s" if workers > 1 else ""}, {SIZE_NAMES[packet]}</text>']
    for power in range(-2, 3):
        for factor in (1, 2, 5):
            value = factor * 10 ** power
            if low <= value <= high:
                out.append(f'<path d="M{left} {y(value):.1f}H{right}" stroke="#ddd"/>'
                           f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:g}</text>')
    for value in flows:
        out.append(f'<path d="M{x(value):.1f} {top}V{bottom}" stroke="#eee"/>'
                   f'<text x="{x(value):.1f}" y="{bottom + 20}" text-anchor="middle">{value:,}</text>'.replace(",", "\u2009"))
    out.append(f'<text x="{(left + right) / 2}" y="{bottom + 42}" text-anchor="middle">sessions</text>')
    used = []
    for name, points in sorted(lines.items(), key=lambda item: -median(item[1][-1][1])):
        system = name.split()[0]
        dash = {"full-nat": ' stroke-dasharray="6 3"', "answers": ' stroke-dasharray="2 3"'}.get(name.split()[-1], "")
        path = " ".join(f"{x(f):.1f},{y(median(each)):.1f}" for f, each in sorted(points))
        out.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[system]}" stroke-width="2"{dash}/>')
        for f, each in points:
            out.append(f'<path d="M{x(f):.1f} {y(min(each)):.1f}V{y(max(each)):.1f}" stroke="{COLOURS[system]}"/>'
                       f'<circle cx="{x(f):.1f}" cy="{y(median(each)):.1f}" r="3" fill="{COLOURS[system]}"/>')
        label = y(median(max(points)[1])) + 4
        while any(abs(label - other) < 14 for other in used):
            label += 2
        used.append(label)
        out.append(f'<text x="{right + 8}" y="{label:.1f}" fill="{COLOURS[system]}">{name}</text>')
    out += [f'<text x="{left}" y="460" font-size="11" fill="#555">{caption}</text>', "</svg>"]
    return "\n".join(out) + "\n"
