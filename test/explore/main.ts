/**
 * `npm run explore -- [store] [escrow] [--seed N] [--seconds N] [--schedules N]`: what could happen, at random, from a seed that
 * is printed. `store`: relays and ledgers for so many seconds (store.ts). `escrow`: so many lives of contracts (escrow.ts); with
 * `--schedules 3` and the seed of one, that one alone, in each cast. No word: both. Exit code 1 where something is not as it must
 * be, 2 for other words.
 */
import { parseArgs } from 'node:util'
import { exploreEscrow } from './escrow.ts'
import { exploreStore } from './store.ts'

const print = (line: string): void => void process.stdout.write(`${line}\n`)

/** In the order in which they run. */
const parts = ['store', 'escrow'] as const
const options = {
  seed: { type: 'string' },
  seconds: { type: 'string', default: '60' },
  schedules: { type: 'string', default: '102000' },
} as const

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({ options, allowPositionals: true })
  const unknown = positionals.find((word) => !parts.some((part) => part === word))
  if (unknown !== undefined) {
    process.stderr.write(`there is no ${unknown} to explore: ${parts.join(', ')}\n`)
    return 2
  }
  const isWanted = (part: (typeof parts)[number]) => positionals.length === 0 || positionals.includes(part)
  const seed = Number(values.seed ?? Date.now() % 1_000_000_000)
  try {
    if (isWanted('store')) await exploreStore(seed, Number(values.seconds), print)
    if (isWanted('escrow')) await exploreEscrow(seed, Number(values.schedules), print)
    return 0
  } catch (error) {
    print(String((error as Error).stack))
    return 1
  }
}

process.exitCode = await main()
