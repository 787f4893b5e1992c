//! The authority graph as a picture: the monitor on top, below it who calls it, and so on; buffers at the bottom.

use std::fmt::Write as _;

use super::Audit;
use super::graph::{Edge, EdgeKind, Graph, Node, NodeKind};

const BOX_WIDTH: usize = 260;
const BOX_HEIGHT: usize = 54;
const COLUMN: usize = BOX_WIDTH + 60;
const ROW: usize = BOX_HEIGHT + 90;
const MARGIN: usize = 30;

/// Upper left corner of a node's box.
type Place = (usize, usize);

fn places(nodes: &[Node]) -> Vec<Place> {
    let mut used = Vec::new();
    nodes
        .iter()
        .map(|node| {
            if used.len() <= node.level {
                used.resize(node.level + 1, 0);
            }
            let column = used[node.level];
            used[node.level] += 1;
            (MARGIN + column * COLUMN, MARGIN + node.level * ROW)
        })
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn draw_node(svg: &mut String, node: &Node, (x, y): Place) {
    let (fill, border) = match node.kind {
        NodeKind::Monitor => ("#d8d8d8", 2),
        NodeKind::Hybrid => ("#ffffff", 1),
        NodeKind::Purecap => ("#e4f0e4", 2),
        NodeKind::Buffer => ("#dcecfa", 1),
    };
    let center = x + BOX_WIDTH / 2;
    let _ = writeln!(
        svg,
        "  <rect x=\"{x}\" y=\"{y}\" width=\"{BOX_WIDTH}\" height=\"{BOX_HEIGHT}\" fill=\"{fill}\" stroke=\"black\" \
         stroke-width=\"{border}\"/>"
    );
    for (down, size, text) in [(23, 15, &node.name), (43, 10, &node.note)] {
        let _ = writeln!(
            svg,
            "  <text x=\"{center}\" y=\"{}\" font-size=\"{size}\" text-anchor=\"middle\">{}</text>",
            y + down,
            escape(text)
        );
    }
}

/// An arrow between the facing sides of two boxes. Edges of different kinds leave at different places.
fn draw_edge(svg: &mut String, edge: &Edge, places: &[Place]) {
    let ((from_x, from_y), (to_x, to_y)) = (places[edge.from], places[edge.to]);
    let (style, shift) = match edge.kind {
        EdgeKind::Calls => ("stroke=\"black\"", 0),
        EdgeKind::Gate => ("stroke=\"#2050d0\" stroke-width=\"2\"", 45),
        EdgeKind::Memory => ("stroke=\"#c00000\" stroke-width=\"3\"", 70),
        EdgeKind::Buffer => ("stroke=\"#2060a0\" stroke-dasharray=\"2 3\"", 50),
    };
    if from_y == to_y {
        // Beside each other, or with others between.
        let (x1, x2) = if from_x < to_x {
            (from_x + BOX_WIDTH, to_x)
        } else {
            (from_x, to_x + BOX_WIDTH)
        };
        let y = from_y + BOX_HEIGHT / 2 + shift / 5;
        let _ = writeln!(
            svg,
            "  <line x1=\"{x1}\" y1=\"{y}\" x2=\"{x2}\" y2=\"{y}\" {style} marker-end=\"url(#arrow)\"/>"
        );
        let _ = writeln!(
            svg,
            "  <text x=\"{}\" y=\"{}\" font-size=\"10\" text-anchor=\"middle\">{}</text>",
            usize::midpoint(x1, x2),
            y - 4,
            escape(&edge.label)
        );
        return;
    }
    let (start, end) = if from_y > to_y {
        (from_y, to_y + BOX_HEIGHT)
    } else {
        (from_y + BOX_HEIGHT, to_y)
    };
    let (x1, x2) = (from_x + BOX_WIDTH / 2 + shift, to_x + BOX_WIDTH / 2 + shift);
    let _ = writeln!(
        svg,
        "  <line x1=\"{x1}\" y1=\"{start}\" x2=\"{x2}\" y2=\"{end}\" {style} marker-end=\"url(#arrow)\"/>"
    );
    let _ = writeln!(
        svg,
        "  <text x=\"{}\" y=\"{}\" font-size=\"10\">{}</text>",
        usize::midpoint(x1, x2) + 6,
        usize::midpoint(start, end) + shift / 5,
        escape(&edge.label)
    );
}

impl Audit {
    /// The authority graph as an SVG picture.
    pub fn to_svg(&self) -> String {
        let graph = Graph::new(self);
        let places = places(&graph.nodes);
        let width = places.iter().map(|(x, _)| x + BOX_WIDTH + MARGIN).max().unwrap_or(0);
        let height = places.iter().map(|(_, y)| y + BOX_HEIGHT + MARGIN).max().unwrap_or(0);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             style=\"background:white\">\n  <defs><marker id=\"arrow\" viewBox=\"0 0 10 10\" \
             refX=\"10\" refY=\"5\" markerWidth=\"8\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path \
             d=\"M0 0L10 5L0 10z\"/></marker></defs>\n"
        );
        for (node, place) in graph.nodes.iter().zip(&places) {
            draw_node(&mut svg, node, *place);
        }
        for edge in &graph.edges {
            draw_edge(&mut svg, edge, &places);
        }
        svg.push_str("</svg>\n");
        svg
    }
}
