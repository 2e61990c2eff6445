// Markdown as tokens; what they become is the dashboard's affair, and never HTML.
export { lexer } from "marked";
