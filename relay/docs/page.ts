/** The same for people: one page, with nothing in it that runs or comes from elsewhere. */
import type { Operation } from './operations.ts'

const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h2{margin-top:2rem}table{border-collapse:collapse;width:100%}td{padding:.3rem .6rem .3rem 0;border-bottom:1px solid #ddd;vertical-align:top}
code{font:14px ui-monospace,monospace}small{color:#666}`

export function page(operations: readonly Operation[], url: string): string {
  const tags = [...new Set(operations.map(({ tag }) => tag))]
  const sections = tags.map((tag) => {
    const rows = operations.filter((each) => each.tag === tag).map(rowOf)
    return `<h2>${escaped(tag)}</h2><table>${rows.join('')}</table>`
  })
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Relay ${escaped(url)}</title><style>${style}</style>
<h1>What this relay answers</h1>
<p>At <code>${escaped(url)}</code>. Requests marked * are open to everybody; for all others a client proves who he is, by
BRC-103 and BRC-104, as <code>AuthFetch</code> of <code>@bsv/sdk</code> does. Bodies are JSON. A refusal is
<code>{"status":"error","code","description"}</code>; 402 names what is to be paid. All of it for programs:
<a href="openapi.json">openapi.json</a>.</p>
${sections.join('\n')}</html>
`
}

const rowOf = ({ method, path, summary, query = [], isOpen }: Operation): string => {
  const asked = query.map((name) => name.replace('!', '')).join(', ')
  const where = `<code>${method.toUpperCase()} ${escaped(path)}</code>${isOpen ? ' *' : ''}`
  return `<tr><td>${where}</td><td>${escaped(summary)}${asked && `<br><small>query: ${escaped(asked)}</small>`}</td></tr>`
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
const escaped = (text: string): string => text.replace(/[&<>"]/g, (character) => entities[character]!)
