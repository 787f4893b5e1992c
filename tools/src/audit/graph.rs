//! The authority graph: who can do something to whom. Nodes are the monitor, the cVMs and the buffers.

use std::fmt::Write as _;

use abi::manifest::{self as names, CALLBACK_MONITOR};

use super::Audit;

/// What a node stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeKind {
    Monitor,
    Hybrid,
    Purecap,
    Buffer,
}

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    pub(super) name: String,
    /// A second line.
    pub(super) note: String,
    /// Distance from the monitor, in calls.
    pub(super) level: usize,
}

/// What an edge stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EdgeKind {
    Calls,
    Gate,
    Memory,
    Buffer,
}

/// An edge, by the numbers of its nodes.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) kind: EdgeKind,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) label: String,
}

/// The graph.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

impl Graph {
    pub(super) fn new(audit: &Audit) -> Graph {
        let mut nodes = vec![Node {
            kind: NodeKind::Monitor,
            name: CALLBACK_MONITOR.to_owned(),
            note: if audit.cvms.iter().all(|cvm| cvm.devices.is_empty()) {
                "all devices".to_owned()
            } else {
                "all other devices".to_owned()
            },
            level: 0,
        }];
        nodes.extend(audit.cvms.iter().map(|cvm| Node {
            kind: if cvm.purecap {
                NodeKind::Purecap
            } else {
                NodeKind::Hybrid
            },
            name: cvm.name.clone(),
            note: [cvm.hostcalls.join(" "), cvm.devices.join(" ")].join(if cvm.devices.is_empty() { "" } else { ", " }),
            level: cvm.calls_through.len(),
        }));
        let position = |nodes: &[Node], name: &str| nodes.iter().position(|node| node.name == name);
        let mut edges = Vec::new();
        for (index, cvm) in audit.cvms.iter().enumerate() {
            let from = 1 + index;
            edges.extend(position(&nodes, &cvm.calls).map(|to| Edge {
                kind: EdgeKind::Calls,
                from,
                to,
                label: "calls".to_owned(),
            }));
            let mut servers: Vec<&str> = Vec::new();
            for (server, _) in cvm.gate_calls.iter().filter_map(|call| names::call(call)) {
                if !servers.contains(&server) {
                    servers.push(server);
                }
            }
            edges.extend(servers.into_iter().filter_map(|server| {
                Some(Edge {
                    kind: EdgeKind::Gate,
                    from,
                    to: position(&nodes, server)?,
                    label: "gate".to_owned(),
                })
            }));
            let outer = cvm.within.as_ref().and_then(|outer| position(&nodes, outer));
            edges.extend(outer.map(|outer| Edge {
                kind: EdgeKind::Memory,
                from: outer,
                to: from,
                label: "reads, writes".to_owned(),
            }));
        }
        let deepest = nodes.iter().map(|node| node.level).max().unwrap_or(0);
        for buffer in &audit.buffers {
            let to = nodes.len();
            let owner = buffer.owner.as_deref().unwrap_or("nobody");
            nodes.push(Node {
                kind: NodeKind::Buffer,
                name: buffer.name.clone(),
                note: format!("buffer of {owner}, {} bytes", buffer.size),
                level: deepest + 1,
            });
            for cvm in &audit.cvms {
                let may = [(&buffer.readers, "reads"), (&buffer.writers, "writes")];
                let may = may.iter().filter(|(cvms, _)| cvms.contains(&cvm.name));
                let label = may.map(|(_, what)| *what).collect::<Vec<_>>().join(", ");
                edges.extend(
                    position(&nodes, &cvm.name)
                        .filter(|_| !label.is_empty())
                        .map(|from| Edge {
                            kind: EdgeKind::Buffer,
                            from,
                            to,
                            label,
                        }),
                );
            }
        }
        Graph { nodes, edges }
    }
}

impl Audit {
    /// The authority graph as Graphviz text.
    pub fn to_dot(&self) -> String {
        let graph = Graph::new(self);
        let mut dot = String::from("digraph authority {\n    rankdir=BT;\n    node [fontname=\"sans-serif\"];\n");
        for (index, node) in graph.nodes.iter().enumerate() {
            let shape = match node.kind {
                NodeKind::Monitor => "shape=box style=filled fillcolor=gray80",
                NodeKind::Hybrid => "shape=box",
                NodeKind::Purecap => "shape=box style=bold",
                NodeKind::Buffer => "shape=cylinder",
            };
            // Names and notes are letters, digits and `._-,` only: nothing in them needs an escape.
            let _ = writeln!(dot, "    n{index} [{shape} label=\"{}\\n{}\"];", node.name, node.note);
        }
        for edge in &graph.edges {
            let style = match edge.kind {
                EdgeKind::Calls => "style=solid",
                EdgeKind::Gate => "style=solid color=blue",
                EdgeKind::Memory => "style=bold color=red",
                EdgeKind::Buffer => "style=dotted",
            };
            let _ = writeln!(
                dot,
                "    n{} -> n{} [{style} label=\"{}\"];",
                edge.from, edge.to, edge.label
            );
        }
        dot.push_str("}\n");
        dot
    }
}
