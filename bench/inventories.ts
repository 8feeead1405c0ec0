/** Pages of an inventory from a small and from a large inbox; and what a large store costs to start and to hold. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { checkPages } from './checks.ts'
import type { Bench, Figure, Part } from './figures.ts'
import { against, figureOf, load } from './load.ts'
import { type Message, sealRequest } from './messages.ts'
import { type RelayProcess, runChild, withFolder, withRelay } from './relay-process.ts'

const filler = fileURLToPath(new URL('./fill.js', import.meta.url))
const Filled = z.object({ times: z.array(z.int()), seconds: z.number() })
/** Content of the records in a large inbox: lists never look at it, filling takes as long as it is large. */
const contentBytes = 256
const pageSizes = [
  { size: 100, pages: 1500, micros: 2000 },
  { size: 1000, pages: 300, micros: 6000 },
] as const
const settleMs = 3000
const mega = 1e6
const largeRecords = 300_000

interface Inbox {
  readonly owner: KeyWallet
  readonly records: number
  /** When some of its records arrived, in order and evenly spread. */
  readonly times: readonly number[]
}

async function inventories(bench: Bench, records: number): Promise<Figure[]> {
  return withFolder(async (data) => {
    const owner = KeyWallet.random()
    bench.note(`filling a store with ${records} records`)
    const args = [join(data, 'store'), owner.identity, String(records), String(contentBytes)]
    const [line = ''] = await runChild(filler, args)
    const { times, seconds } = Filled.parse(JSON.parse(line))
    bench.note(`filled in ${seconds.toFixed(1)} s`)
    const inbox = { owner, records, times }
    return withRelay(bench, { data }, async (relay) => [
      ...(await holding(relay, records)),
      ...(await pages(relay, inbox)),
    ])
  })
}

async function holding(relay: RelayProcess, records: number): Promise<Figure[]> {
  await new Promise((resolve) => setTimeout(resolve, settleMs))
  const rss = relay.rssBytes() / mega
  const figures: Figure[] = [
    {
      what: `start on a store of ${records} records`,
      value: { amount: relay.startMs, unit: 'ms' },
      target: { text: '< 1000 ms on 1 M records', met: relay.startMs < 1000 },
    },
    { what: 'CPU of that start', value: { amount: relay.startCpuMicros / 1000, unit: 'ms' } },
    {
      what: `memory, idle, on ${records} records`,
      value: { amount: rss, unit: 'MB' },
      target: { text: '< 150 MB on 1 M records', met: rss < 150 },
    },
  ]
  // The targets are for a large store; a small one is there to compare with.
  return records >= largeRecords ? figures : figures.map(({ target: _, ...figure }) => figure)
}

async function pages(relay: RelayProcess, inbox: Inbox): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const { size, pages: count, micros } of pageSizes) {
    await ask(relay, await sealPages(relay, inbox, { size, count: Math.ceil(count / 5) }), size)
    const measured = await ask(relay, await sealPages(relay, inbox, { size, count }), size)
    figures.push(against(figureOf(`page of ${size} from an inbox of ${inbox.records}`, measured), { micros }))
  }
  return figures
}

async function ask(relay: RelayProcess, messages: readonly Message[], size: number) {
  const measured = await load(relay, messages, 4)
  checkPages(messages, measured.answers, { size, relay: relay.key })
  return measured
}

/** Pages that begin all over the inbox, where it is large enough for a whole page to follow. */
async function sealPages(
  relay: RelayProcess,
  { owner, records, times }: Inbox,
  { size, count }: { size: number; count: number },
): Promise<Message[]> {
  // Records of one batch of the committer share their time, so a page may begin 256 records later than asked for.
  const lastMark = Math.floor((times.length * (records - size - 512)) / records)
  const begins = [0, ...times.slice(0, Math.max(0, lastMark))]
  const messages: Message[] = []
  for (let index = 0; index < count; index++) {
    const afterTs = begins[(index * 89) % begins.length]!
    messages.push(await sealRequest({ type: 'inventory', afterTs, limit: size }, owner, relay.key))
  }
  return messages
}

export const inventoryParts: readonly Part[] = [
  {
    name: 'inventory-1k',
    about: 'pages of 100 and 1000 from an inbox of 1000',
    run: (bench) => inventories(bench, 1000),
  },
  {
    name: 'inventory-large',
    about: 'the same from an inbox of 300 k (1 M with --full), with start time and idle memory',
    run: (bench) => inventories(bench, bench.full ? mega : largeRecords),
  },
]
