/** Usage reports (relay/ledger/usage.ts) over a million pulls of one purse, page after page: what they cost, and how much memory. */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { toHex } from '../market/bytes.ts'
import { sha256Hex } from '../market/hash.ts'
import { formatPath } from '../market/record.ts'
import { dayMs } from '../market/units.ts'
import { usageAfter, usageStart } from '../contracts/usage.ts'
import { usagePage } from '../relay/ledger/usage.ts'
import * as keys from '../relay/store/keys.ts'
import { bookReceived, findPurse } from '../relay/store/ledger.ts'
import { timeOf } from '../relay/store/place.ts'
import { Pull, Purse } from '../relay/store/rows.ts'
import { Store } from '../relay/store/store.ts'
import type { Bench, Figure, Part } from './figures.ts'
import { runChild, withFolder } from './relay-process.ts'

const mega = 1e6
const pulls = mega
const pagePulls = 1000
const batchPulls = 2000
const key = () => `02${toHex(randomBytes(32))}`
const owner = key()
const receivers = Array.from({ length: 64 }, key)
const purse = 'credit'
const Reported = z.object({ cpuMicros: z.number(), chainMicros: z.number(), grownBytes: z.number() })

/** The pull log of a busy owner, written as the store writes it but for the records, the entries and the signatures. */
async function fill(directory: string): Promise<string> {
  const store = await Store.open({ directory, now: Date.now })
  const satoshi = 100_000_000
  await store.commit((batch) => bookReceived(batch, { owner, purse, satoshi, note: 'bench' }))
  let chain = usageStart(purse)
  for (let seq = 1; seq <= pulls; ) {
    const end = Math.min(pulls, seq + batchPulls - 1)
    await store.commit((batch) => {
      for (; seq <= end; seq++) {
        const place = batch.nextPlace()
        const path = { owner, receiver: receivers[seq % 64]!, recordId: toHex(randomBytes(16)) }
        const pull = { path: formatPath(path), bytes: 392, at: timeOf(place), re: '', seq }
        const text = JSON.stringify({ path: pull.path, sig: `30${'00'.repeat(69)}`, to: owner, from: owner })
        pull.re = sha256Hex(text)
        chain = usageAfter(chain, pull)
        const { receiver, recordId } = path
        const row = { receiver, recordId, bytes: 392, purse, seq, chain: toHex(chain), re: pull.re, text }
        batch.put(keys.placeKey(keys.pullPrefix(owner), place), Pull.encode(row))
      }
      const state = { ...findPurse(batch, owner, purse)!, pulls: end, chain: toHex(chain) }
      batch.put(keys.purseKey(owner, purse), Purse.encode(state))
    })
  }
  await store.close()
  return owner
}

/** Every page as a relay would make it, before it is signed; then the chain of all pulls, as a client would. */
async function report(directory: string, owner: string): Promise<z.infer<typeof Reported>> {
  const store = await Store.open({ directory, now: Date.now })
  const page = (after: number) => {
    const query = { owner, purse, after, limit: pagePulls, evidence: false }
    return usagePage(store, query, Date.now() + dayMs)
  }
  await page(0)
  const used = () => {
    const { heapTotal, external } = process.memoryUsage()
    return heapTotal + external
  }
  const first = used()
  let [most, seen, bytes, chainMicros] = [first, 0, 0, 0]
  let chain = usageStart(purse)
  const began = cpuMicros()
  for (let after = 0, more = true; more; ) {
    const made = await page(after)
    ;({ place: after, more } = made)
    bytes += JSON.stringify(made.report).length
    const before = cpuMicros()
    for (const pull of made.report.pulls) chain = usageAfter(chain, pull)
    if (toHex(chain) !== made.report.chain) throw new Error('the chain does not follow')
    chainMicros += cpuMicros() - before
    seen += made.report.count
    most = Math.max(most, used())
  }
  const all = cpuMicros() - began
  if (seen !== pulls) throw new Error(`${seen} pulls in ${bytes} bytes`)
  await store.close()
  return { cpuMicros: all - chainMicros, chainMicros, grownBytes: most - first }
}

function cpuMicros(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

async function measure(bench: Bench): Promise<Figure[]> {
  const self = fileURLToPath(import.meta.url)
  return withFolder(async (data) => {
    const directory = join(data, 'store')
    bench.note(`filling a pull log with ${pulls} pulls`)
    const [filled = ''] = await runChild(self, ['fill', directory])
    const [line = ''] = await runChild(self, ['report', directory, filled])
    const { cpuMicros, chainMicros, grownBytes } = Reported.parse(JSON.parse(line))
    const grown = grownBytes / mega
    const micros = 2
    return [
      {
        what: `usage report of ${pulls} pulls, per pull`,
        cpuMicros: cpuMicros / pulls,
        cpuTotalMs: cpuMicros / 1000,
        target: { text: '< 2 s CPU of all', met: cpuMicros / pulls < micros, micros },
      },
      {
        what: 'their chain, computed anew by who asked',
        cpuMicros: chainMicros / pulls,
        cpuTotalMs: chainMicros / 1000,
      },
      {
        what: 'memory it grew by at the most',
        value: { amount: grown, unit: 'MB' },
        target: { text: '< 100 MB', met: grown < 100 },
      },
    ]
  })
}

export const usageParts: readonly Part[] = [
  { name: 'usage', about: 'a usage report over 1 M pulls, in pages', run: measure },
]

const [, program, task, directory = '', given = ''] = process.argv
if (program === fileURLToPath(import.meta.url)) {
  if (task === 'fill') process.stdout.write(`${await fill(directory)}\n`)
  if (task === 'report') process.stdout.write(`${JSON.stringify(await report(directory, given))}\n`)
}
