//! Where boxes and the lines between them go: in layers, each box behind all that lead to it, lines
//! that pass a layer in a lane of their own. Pure; knows nothing of what is drawn. Lengths are in
//! units of the drawing; `along` is the direction in which lines lead, `across` the other one.

use std::collections::BTreeMap;

/// Sweeps that order the boxes of a layer by their neighbours.
const SWEEPS: usize = 6;
/// Sweeps that move them towards their neighbours.
const MOVES: usize = 8;
/// The room of a line that passes a layer.
const LANE: f64 = 14.0;

/// A length in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Size {
    pub(crate) along: f64,
    pub(crate) across: f64,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    /// The near corner of each box.
    pub(crate) corners: Vec<Size>,
    /// The way of each line, in the order of the lines; empty for one from a box to itself.
    pub(crate) ways: Vec<Vec<Size>>,
    /// The whole drawing.
    pub(crate) size: Size,
}

/// A box, or a lane where a line passes a layer.
struct Place {
    layer: usize,
    size: Size,
    /// The middle, across.
    at: f64,
    before: Vec<usize>,
    behind: Vec<usize>,
}

/// Lays out boxes with lines from one to another. A line that closes a circle leads back.
pub(crate) fn layered(boxes: &[Size], lines: &[(usize, usize)], gap: Size) -> Layout {
    if boxes.is_empty() {
        return Layout::default();
    }
    let back = leading_back(boxes.len(), lines);
    let forward: Vec<(usize, usize)> = lines
        .iter()
        .zip(&back)
        .map(|((a, b), back)| if *back { (*b, *a) } else { (*a, *b) })
        .collect();
    let layers = layers(boxes.len(), &forward);
    let mut places: Vec<Place> = boxes
        .iter()
        .zip(&layers)
        .map(|(size, layer)| Place {
            layer: *layer,
            size: *size,
            at: 0.0,
            before: Vec::new(),
            behind: Vec::new(),
        })
        .collect();
    let mut passes = Vec::new();
    for (from, to) in &forward {
        passes.push(pass(&mut places, *from, *to));
    }
    let mut rows = rows(&places);
    order(&places, &mut rows);
    arrange(&mut places, &rows, gap.across);
    finish(&places, &rows, boxes.len(), (lines, &back, &passes), gap)
}

/// Which lines close a circle, seen from the first box on.
fn leading_back(count: usize, lines: &[(usize, usize)]) -> Vec<bool> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        No,
        Open,
        Done,
    }
    let mut out: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut led_to = vec![false; count];
    for (index, (from, to)) in lines.iter().enumerate() {
        out.entry(*from).or_default().push(index);
        led_to[*to] |= from != to;
    }
    let (mut seen, mut back) = (vec![Seen::No; count], vec![false; lines.len()]);
    let roots = (0..count).filter(|n| !led_to[*n]).chain(0..count);
    for root in roots.collect::<Vec<_>>() {
        // The way down, without recursion: a box, and how many of its lines were followed.
        let mut way = vec![(root, 0)];
        if seen[root] != Seen::No {
            continue;
        }
        seen[root] = Seen::Open;
        while let Some((at, next)) = way.pop() {
            let Some(index) = out.get(&at).and_then(|all| all.get(next)) else {
                seen[at] = Seen::Done;
                continue;
            };
            way.push((at, next + 1));
            let to = lines[*index].1;
            match seen[to] {
                Seen::Open => back[*index] = true,
                Seen::Done => {}
                Seen::No => {
                    seen[to] = Seen::Open;
                    way.push((to, 0));
                }
            }
        }
    }
    back
}

/// The layer of each box: one behind the last that leads to it. There are no circles.
fn layers(count: usize, lines: &[(usize, usize)]) -> Vec<usize> {
    let mut layer = vec![0; count];
    // The longest way has fewer steps than there are boxes.
    for _ in 0..count {
        let mut moved = false;
        for (from, to) in lines {
            if from != to && layer[*to] < layer[*from] + 1 {
                layer[*to] = layer[*from] + 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    layer
}

/// A line from one box to another, with a lane in each layer between. Answers the lanes.
fn pass(places: &mut Vec<Place>, from: usize, to: usize) -> Vec<usize> {
    let (mut last, mut lanes) = (from, Vec::new());
    if from == to {
        return lanes;
    }
    for layer in places[from].layer + 1..places[to].layer {
        let lane = places.len();
        let size = Size { along: 0.0, across: LANE };
        places.push(Place { layer, size, at: 0.0, before: vec![last], behind: Vec::new() });
        places[last].behind.push(lane);
        lanes.push(lane);
        last = lane;
    }
    places[last].behind.push(to);
    places[to].before.push(last);
    lanes
}

fn rows(places: &[Place]) -> Vec<Vec<usize>> {
    let mut rows = vec![Vec::new(); places.iter().map(|p| p.layer + 1).max().unwrap_or(0)];
    for (index, place) in places.iter().enumerate() {
        rows[place.layer].push(index);
    }
    rows
}

/// Orders each layer by where its neighbours are, down and up in turn.
fn order(places: &[Place], rows: &mut [Vec<usize>]) {
    let mut rank = vec![0.0; places.len()];
    let set = |row: &[usize], rank: &mut [f64]| {
        for (at, index) in row.iter().enumerate() {
            rank[*index] = at as f64;
        }
    };
    for row in rows.iter() {
        set(row, &mut rank);
    }
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let count = rows.len();
        for step in 0..count {
            let row = &mut rows[if down { step } else { count - 1 - step }];
            let wish = |index: &usize| {
                let near = if down { &places[*index].before } else { &places[*index].behind };
                mean(near.iter().map(|n| rank[*n])).unwrap_or(rank[*index])
            };
            row.sort_by(|a, b| wish(a).total_cmp(&wish(b)));
            let row = row.clone();
            set(&row, &mut rank);
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Moves each box towards the middle of its neighbours, as far as the others of its layer let it.
fn arrange(places: &mut [Place], rows: &[Vec<usize>], gap: f64) {
    for row in rows {
        let mut at = 0.0;
        for index in row {
            places[*index].at = at + places[*index].size.across / 2.0;
            at += places[*index].size.across + gap;
        }
    }
    for sweep in 0..MOVES {
        let count = rows.len();
        for step in 0..count {
            let row = &rows[if sweep % 2 == 0 { step } else { count - 1 - step }];
            let wishes: Vec<f64> = row
                .iter()
                .map(|index| {
                    let place = &places[*index];
                    let near = place.before.iter().chain(&place.behind);
                    mean(near.map(|n| places[*n].at)).unwrap_or(place.at)
                })
                .collect();
            let room = |a: usize, b: usize| {
                (places[row[a]].size.across + places[row[b]].size.across) / 2.0 + gap
            };
            // Once pushed to the far side, once to the near one: the middle keeps all distances.
            let mut far = wishes.clone();
            for i in 1..row.len() {
                far[i] = far[i].max(far[i - 1] + room(i - 1, i));
            }
            let mut near = wishes;
            for i in (0..row.len().saturating_sub(1)).rev() {
                near[i] = near[i].min(near[i + 1] - room(i, i + 1));
            }
            for (i, index) in row.iter().enumerate() {
                places[*index].at = (far[i] + near[i]) / 2.0;
            }
        }
    }
}

type Lines<'a> = (&'a [(usize, usize)], &'a [bool], &'a [Vec<usize>]);

fn finish(
    places: &[Place],
    rows: &[Vec<usize>],
    boxes: usize,
    (lines, back, passes): Lines<'_>,
    gap: Size,
) -> Layout {
    let near = places.iter().map(|p| p.at - p.size.across / 2.0).fold(f64::INFINITY, f64::min);
    let far = places.iter().map(|p| p.at + p.size.across / 2.0).fold(0.0, f64::max);
    let (mut begins, mut depths, mut at) = (Vec::new(), Vec::new(), 0.0);
    for row in rows {
        let depth = row.iter().map(|index| places[*index].size.along).fold(0.0, f64::max);
        begins.push(at);
        depths.push(depth);
        at += depth + gap.along;
    }
    // A box that is less deep than its layer stands in the middle of it.
    let begin = |p: &Place| begins[p.layer] + (depths[p.layer] - p.size.along) / 2.0;
    let corners = places[..boxes]
        .iter()
        .map(|p| Size { along: begin(p), across: p.at - p.size.across / 2.0 - near });
    let ways = lines.iter().zip(back).zip(passes).map(|(((from, to), back), lanes)| {
        if from == to {
            return Vec::new();
        }
        let (first, last) = if *back { (*to, *from) } else { (*from, *to) };
        let point = |along, p: &Place| Size { along, across: p.at - near };
        let (first, last) = (&places[first], &places[last]);
        let mut way = vec![point(begin(first) + first.size.along, first)];
        for lane in lanes {
            let lane = &places[*lane];
            way.push(point(begins[lane.layer], lane));
            way.push(point(begins[lane.layer] + depths[lane.layer], lane));
        }
        way.push(point(begin(last), last));
        if *back {
            way.reverse();
        }
        way
    });
    Layout {
        corners: corners.collect(),
        ways: ways.collect(),
        size: Size { along: (at - gap.along).max(0.0), across: far - near },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Size = Size { along: 40.0, across: 100.0 };
    const GAP: Size = Size { along: 30.0, across: 20.0 };

    fn check(count: usize, lines: &[(usize, usize)]) -> Layout {
        let layout = layered(&vec![BOX; count], lines, GAP);
        for (index, a) in layout.corners.iter().enumerate() {
            assert!(
                a.along >= 0.0 && a.along + BOX.along <= layout.size.along + 0.01,
                "{layout:?}"
            );
            assert!(a.across >= -0.01 && a.across + BOX.across <= layout.size.across + 0.01);
            for b in &layout.corners[..index] {
                let apart = (a.along - b.along).abs() >= BOX.along
                    || (a.across - b.across).abs() >= BOX.across;
                assert!(apart, "two boxes at one place: {layout:?}");
            }
        }
        layout
    }

    #[test]
    fn boxes_stand_behind_what_leads_to_them_and_circles_end() {
        let layout = check(3, &[(0, 1), (1, 2), (0, 2)]);
        let along: Vec<f64> = layout.corners.iter().map(|c| c.along).collect();
        assert_eq!(along, [0.0, 70.0, 140.0]);
        assert_eq!(layout.ways[2].len(), 4, "it has a lane beside the box between");
        let lane = layout.ways[2][1].across;
        let middle = layout.corners[1].across;
        assert!(lane < middle || lane > middle + BOX.across, "the line goes through a box");
        // Around in a circle, and to itself.
        let layout = check(3, &[(0, 1), (1, 2), (2, 0), (1, 1)]);
        assert!(layout.ways[2][0].along > layout.ways[2].last().expect("an end").along);
        assert!(layout.ways[3].is_empty());
        check(0, &[]);
        check(4, &[]);
        check(2, &[(0, 1), (1, 0)]);
    }

    #[test]
    fn any_lines_give_a_drawing() {
        let mut seed = 7_u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap_or(0) % below
        };
        for count in 1..25 {
            let lines: Vec<_> = (0..count * 2).map(|_| (next(count), next(count))).collect();
            let layout = check(count, &lines);
            assert_eq!(layout.ways.len(), lines.len());
        }
    }
}
