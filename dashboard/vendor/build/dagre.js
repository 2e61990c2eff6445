// Where the nodes and edges of a graph go.
import dagre from "@dagrejs/dagre";
export const { layout } = dagre;
export const { Graph } = dagre.graphlib;
