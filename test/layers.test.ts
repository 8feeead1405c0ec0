/** The architecture as a test: `market ← contracts ← relay`, `market ← contracts ← client`, and two pure layers. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { codes } from '../market/errors.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const layers = ['market', 'contracts', 'relay', 'client', 'test', 'bench'] as const
type Layer = (typeof layers)[number]

/** What the files of a layer may import from. */
const allowed: Record<Layer, readonly Layer[]> = {
  market: ['market'],
  contracts: ['market', 'contracts'],
  relay: ['market', 'contracts', 'relay'],
  client: ['market', 'contracts', 'client'],
  test: layers,
  bench: layers,
}
/** The folders of client/: each may import those before it. */
const clientFolders = [
  'wire',
  'home',
  'people',
  'money',
  'escrow',
  'mail',
  'feeds',
  'files',
  'sync',
  'relays',
  'market',
  'terminal',
] as const
/** The places in the two pure layers that may do I/O, because relay and client both need them. */
const adapters = [
  'market/channels/',
  'market/way/',
  'contracts/chain/',
  'contracts/wallet/',
  'contracts/overlay/',
]
/** The files of the pure layers that know the platform: a browser build replaces these. */
const platform = ['market/bytes.ts', 'market/hash.ts', 'market/secp256k1.ts']
const longestFile = 250

interface Import {
  readonly from: string
  readonly typeOnly: boolean
  readonly lazy: boolean
}
interface Source {
  readonly path: string
  readonly text: string
  /** Without comments and without what stands in strings and patterns. */
  readonly code: string
  readonly imports: readonly Import[]
}

/** Replaces comments, and on demand the inside of strings and patterns, by nothing. Good enough for our own code. */
function strip(text: string, strings: boolean): string {
  const token =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\[\s\S]|[^`\\])*`|(?<=[(,=:[!&|?{};]\s*|\breturn\s+)\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[*])+\/[a-z]*/g
  return text.replaceAll(token, (found) => {
    if (found.startsWith('//') || found.startsWith('/*')) return ''
    if (!strings) return found
    // What a template computes is code.
    return found.startsWith('`')
      ? [...found.matchAll(/\$\{([^}]*)\}/g)].map((match) => match[1]).join(' ')
      : "''"
  })
}

function importsOf(text: string): Import[] {
  const code = strip(text, false)
  const stated = [...code.matchAll(/^(?:import|export)\s+(type\s+)?(?:[\w*${}\s,]+?\s+from\s+)?'([^']+)'/gm)]
  const called = [...code.matchAll(/\b(import|require)\s*\(\s*['"`]([^'"`]+)['"`]/g)]
  const created = [...code.matchAll(/createRequire\([^)]*\)\('([^']+)'\)/g)]
  return [
    ...stated.map((match) => ({ from: match[2]!, typeOnly: match[1] !== undefined, lazy: false })),
    ...called.map((match) => ({ from: match[2]!, typeOnly: false, lazy: match[1] === 'import' })),
    ...created.map((match) => ({ from: match[1]!, typeOnly: false, lazy: false })),
  ]
}

const sources: Source[] = layers.flatMap((layer) =>
  readdirSync(join(root, layer), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
    .map((entry) => {
      const file = join(entry.parentPath, entry.name)
      const text = readFileSync(file, 'utf8')
      return { path: relative(root, file), text, code: strip(text, true), imports: importsOf(text) }
    }),
)

const layerOf = (path: string): Layer => path.split('/')[0] as Layer // every source lies in a layer
const isSource = ({ path }: Source): boolean => !['test', 'bench'].includes(layerOf(path))
const isPure = ({ path }: Source): boolean =>
  ['market', 'contracts'].includes(layerOf(path)) && !adapters.some((folder) => path.startsWith(folder))
const isPackage = (from: string, name: string): boolean => from === name || from.startsWith(`${name}/`)
/** Files that import one of the packages, each with whether it does so only for types or lazily. */
const importers = (...names: string[]) =>
  sources.flatMap(({ path, imports }) =>
    imports
      .filter(({ from }) => names.some((name) => isPackage(from, name)))
      .map((found) => ({ path, ...found })),
  )

t.test('imports point towards market only, and relay and client never meet', async (t) => {
  const wrong: string[] = []
  for (const { path, imports } of sources) {
    for (const { from } of imports.filter((found) => found.from.startsWith('.'))) {
      const target = normalize(join(dirname(path), from))
      const version = target.endsWith('package.json') && !['market', 'contracts'].includes(layerOf(path))
      if (!version && !allowed[layerOf(path)].includes(layerOf(target))) wrong.push(`${path}: ${from}`)
      if (!/\.(?:ts|cjs|json)$/.test(from)) wrong.push(`${path}: ${from} has no extension`)
    }
  }
  t.same(wrong, [])
})

t.test(
  'folders of the client import those before them; below its top, only the terminal knows the client',
  async (t) => {
    const rankOf = (path: string): number =>
      clientFolders.findIndex((folder) => path.startsWith(`client/${folder}/`))
    const shared = ['client/errors.ts', 'client/wallet.ts']
    const wrong = sources
      .filter(({ path }) => rankOf(path) >= 0)
      .flatMap(({ path, imports }) =>
        imports
          .map((found) => ({ ...found, target: normalize(join(dirname(path), found.from)) }))
          .filter(({ target, typeOnly }) => {
            if (!target.startsWith('client/') || shared.includes(target)) return false
            if (rankOf(target) >= 0) return rankOf(target) > rankOf(path)
            return !(target === 'client/context.ts' && typeOnly) && !path.startsWith('client/terminal/')
          })
          .map(({ from }) => `${path}: ${from}`),
      )
    t.same(wrong, [])
    const folders = sources.flatMap(({ path }) => /^client\/(\w+)\//.exec(path)?.[1] ?? [])
    t.same([...new Set(folders)].sort(), [...clientFolders].sort(), 'and there are no others')
  },
)

t.test('nothing imports a file outside the layers', async (t) => {
  const absolute = sources.flatMap(({ path, imports }) =>
    imports.filter(({ from }) => /^(?:\/|file:|https?:)/.test(from)).map(({ from }) => `${path}: ${from}`),
  )
  t.same(absolute, [])
})

t.test('market and contracts import nothing of the platform, except in three files', async (t) => {
  const found = sources
    .filter((source) => isPure(source) && !platform.includes(source.path))
    .flatMap(({ path, imports }) =>
      imports
        .filter(({ from }) => from.startsWith('node:') || ['ws', 'fastify', 'level', 'pino'].includes(from))
        .map(({ from }) => `${path}: ${from}`),
    )
  t.same(found, [])
})

t.test('market and contracts have no clock, no randomness, no output and no timers', async (t) => {
  const ambient = [
    /\bDate\.now\b/,
    /\bnew Date\(\s*\)/,
    /\bDate\(\s*\)/,
    /\bMath\.random\b/,
    /\brandom(?:Bytes|UUID|Int|FillSync)\b/,
    /\bgetRandomValues\b/,
    /\bset(?:Timeout|Interval|Immediate)\b/,
    /\bqueueMicrotask\b/,
    /\bperformance\./,
    /\bprocess\./,
    /\bconsole\./,
    /\bfetch\s*\(/,
    /\bglobalThis\b/,
  ]
  const found = sources
    .filter(isPure)
    .flatMap(({ path, code }) => ambient.filter((word) => word.test(code)).map((word) => `${path}: ${word}`))
  t.same(found, [])
})

t.test('only market/secp256k1.ts knows the native verifier and its substitute', async (t) => {
  const found = importers('secp256k1', '@bitauth/libauth').filter(({ path }) => isSource({ path } as Source))
  t.same([...new Set(found.map(({ path }) => path))], ['market/secp256k1.ts'])
})

t.test('only relay/store and the coins of a wallet know the database', async (t) => {
  const found = importers('level', 'abstract-level', 'classic-level', 'memory-level')
    .map(({ path }) => path)
    .filter((path) => isSource({ path } as Source) && !path.startsWith('relay/store/'))
  t.ok(new Set(found).size <= 1)
  for (const path of found) t.ok(path.startsWith('contracts/wallet/'), path)
})

t.test('@bsv/sdk is a type, except in one file that imports it when needed', async (t) => {
  const values = importers('@bsv/sdk').filter(
    ({ path, typeOnly }) => isSource({ path } as Source) && !typeOnly,
  )
  t.same([...new Set(values.map(({ path }) => path))], ['contracts/transaction/sdk.ts'])
  t.ok(values.every(({ lazy }) => lazy))
})

t.test(`a source file has at most ${longestFile} lines`, async (t) => {
  const long = sources
    .filter(isSource)
    .map(({ path, text }) => ({ path, lines: text.split('\n').length - 1 }))
    .filter(({ lines }) => lines > longestFile)
  t.same(long, [])
})

t.test('the sections of docs/protocol.md that code and tests cite exist', async (t) => {
  const docs = readFileSync(join(root, 'docs/protocol.md'), 'utf8')
  const sections = new Set([...docs.matchAll(/^##+ (\d+(?:\.\d+)?) /gm)].map((match) => match[1]))
  const cited = sources.flatMap(({ path, text }) =>
    [...text.matchAll(/docs\/protocol\.md ((?:(?:, |, and | and )?§\d+(?:\.\d+)?)+)/g)].flatMap((match) =>
      match[1]!.match(/\d+(?:\.\d+)?/g)!.map((section) => ({ path, section })),
    ),
  )
  const inside = [...docs.matchAll(/§(\d+(?:\.\d+)?)/g)].map((match) => match[1]!)
  t.ok(cited.length > 10)
  t.same(
    cited.filter(({ section }) => !sections.has(section)),
    [],
  )
  t.same(
    inside.filter((section) => !sections.has(section)),
    [],
  )
})

t.test('§6: the table of errors in docs/protocol.md is the table of market/errors.ts', async (t) => {
  const docs = readFileSync(join(root, 'docs/protocol.md'), 'utf8')
  const rows = [...docs.matchAll(/^\| `(ERR_[A-Z_]+)` \| (\d+) \| (yes|no) \|/gm)]
  const table = rows.map(([, code, status, again]) => [
    code,
    { status: Number(status), retryable: again === 'yes' },
  ])

  t.same(table, Object.entries(codes))
})

t.test(
  'this test sees what it should: imports of every form, and no words in comments or strings',
  async (t) => {
    const text = [
      "import type { A } from './a.ts'",
      "import b, { type B, c as d } from 'b'",
      "import * as e from '@scope/e/sub'",
      "import './f.ts'",
      "export { g } from './g.ts'",
      "export * from './h.ts'",
      'import {\n  i,\n  type J,\n} from "x" // not our quotes',
      "import {\n  k,\n} from './k.ts'",
      "const l = await import('l')",
      "createRequire(import.meta.url)('m/n')",
      "// import './o.ts'",
      // biome-ignore lint/suspicious/noTemplateCurlyInString: the text of a template
      "/** Date.now() */ const p = 'process.exit()' + `console.${Date.now()}` + q / 2 / 3",
      'const r = /`|\'|"/g.test(setTimeout)',
    ].join('\n')

    const names = importsOf(text).map(({ from, typeOnly, lazy }) => [from, typeOnly, lazy].join(' '))
    const code = strip(text, true)

    t.same(names, [
      './a.ts true false',
      'b false false',
      '@scope/e/sub false false',
      './f.ts false false',
      './g.ts false false',
      './h.ts false false',
      './k.ts false false',
      'l false true',
      'm/n false false',
    ])
    t.match(code, /Date\.now\(\)/, 'code inside a template is code')
    t.notMatch(code, /process|console/)
    t.match(code, /setTimeout/, 'a pattern with quotes in it hides nothing')
    t.ok(sources.length > 20)
  },
)
