/** The audit of a purse (contracts/audit/verdict.ts) with a million records and a million pulls, reads verified by sample. */
import { randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { Acks } from '../contracts/audit/acks.ts'
import { Books, type ReportPage } from '../contracts/audit/books.ts'
import { audit } from '../contracts/audit/verdict.ts'
import { usageAfter, type UsagePull, type UsageReport, usageStart } from '../contracts/usage.ts'
import { toHex } from '../market/bytes.ts'
import { seal } from '../market/envelope.ts'
import { billedBytes, egressUnits, floorSatoshi, ingressUnits, storageUnits } from '../market/price.ts'
import { dayMs } from '../market/units.ts'
import { identityOf } from '../test/fixtures/keys.ts'
import type { Bench, Figure, Part } from './figures.ts'
import { runChild } from './relay-process.ts'

const mega = 1e6
const Measured = z.object({
  booksSeconds: z.number(),
  seconds: z.number(),
  cpuSeconds: z.number(),
  signatures: z.int(),
})
const contentBytes = 392
const pageSize = 1000
/** One read in so many is verified: where one of a hundred is forged, one audit in 20 000 finds none. */
const sampleEvery = 1000
const prices = { storageGBDay: 4000, egressGB: 100_000, ingressGB: 20_000 }
const [owner, receiver, relay] = ['owner', 'receiver', 'relay'].map(identityOf) as [
  ReturnType<typeof identityOf>,
  ReturnType<typeof identityOf>,
  ReturnType<typeof identityOf>,
]
const started = 1_767_225_600_000
const paidMs = 7 * dayMs

interface Made {
  readonly pages: ReportPage[]
  readonly paths: string[]
}

/** What a relay with as many records, each pulled once, would have sent: values as they come out of JSON. */
async function make(count: number): Promise<Made> {
  const pages: ReportPage[] = []
  const paths: string[] = []
  let chain = usageStart('credit')
  const bytes = String(count * billedBytes(contentBytes))
  const at = started + paidMs + dayMs
  const units =
    storageUnits(contentBytes, paidMs, prices) +
    ingressUnits(contentBytes, prices) +
    egressUnits(contentBytes, prices)
  const totals = {
    byteMs: String(BigInt(count) * BigInt(billedBytes(contentBytes)) * BigInt(paidMs)),
    ...{ egress: bytes, ingress: bytes, owed: String(floorSatoshi(BigInt(count) * units)) },
  }
  for (let from = 1; from <= count; from += pageSize) {
    const pulls: UsagePull[] = []
    const reads: string[] = []
    for (let seq = from; seq < from + pageSize; seq++) {
      const path = `/${owner.identity}/outbox/${receiver.identity}/${toHex(randomBytes(16))}`
      const read = seq % sampleEvery === 0 ? await readOf(path, started + seq) : undefined
      const re = read?.hash ?? toHex(randomBytes(32))
      const pull = { seq, path, bytes: contentBytes, at: started + seq, re }
      chain = usageAfter(chain, pull)
      pulls.push(pull)
      reads.push(read?.text ?? 'not looked at')
      paths.push(path)
    }
    const head = { account: 'credit', at, fromSeq: from, count: pageSize, chain: toHex(chain), ...totals }
    const report: UsageReport = { type: 'UsageReport', ...head, pulls, reads }
    const more = from + pageSize <= count
    pages.push({ report: JSON.parse(JSON.stringify(report)) as UsageReport, more, text: '' }) // what was just made
  }
  return { pages, paths: JSON.parse(JSON.stringify(paths)) as string[] }
}

const readOf = (path: string, timestamp: number) =>
  seal(
    { to: relay.identity, timestamp, nonce: toHex(randomBytes(8)), request: { type: 'read', path } },
    receiver,
  )

async function reconcile(count: number): Promise<z.infer<typeof Measured>> {
  const { pages, paths } = await make(count)
  const acks = new Acks()
  for (const { report } of pages) for (const { path, re } of report.pulls) if (re !== null) acks.add(path, re)
  const beganBooks = performance.now()
  const books = new Books({ relay: relay.identity, owner: owner.identity, acks })
  const terms = { bytes: contentBytes, maxPulls: 4, purse: 'credit', prices, tag: 'chat' }
  paths.forEach((path, index) => {
    const at = started + index
    books.add({ path, at, paidUntil: at + paidMs, ...terms })
  })
  const began = performance.now()
  const cpu = process.cpuUsage()
  const sample = (seq: number) => seq % sampleEvery === 0
  const result = await audit({ books, purse: 'credit', pages: () => pages, sample })
  const { user, system } = process.cpuUsage(cpu)
  const seconds = (performance.now() - began) / 1000
  if (result.verdict !== 'explained' || result.pulls !== count)
    throw new Error(result.findings[0]?.sentence ?? `${result.pulls} pulls`)
  return {
    booksSeconds: (began - beganBooks) / 1000,
    seconds,
    cpuSeconds: (user + system) / mega,
    signatures: result.signatures,
  }
}

async function measure(bench: Bench): Promise<Figure[]> {
  bench.note('making a million records and pulls')
  const [line = ''] = await runChild(fileURLToPath(import.meta.url), ['reconcile', String(mega)])
  const { booksSeconds, seconds, cpuSeconds, signatures } = Measured.parse(JSON.parse(line))
  return [
    { what: 'taking 1 M records into the books', value: { amount: booksSeconds, unit: 's' } },
    {
      what: `audit of 1 M pulls, ${signatures} reads verified`,
      value: { amount: seconds, unit: 's' },
      target: { text: '< 2 s', met: seconds < 2 },
    },
    { what: 'CPU of that', value: { amount: cpuSeconds, unit: 's' } },
  ]
}

export const auditParts: readonly Part[] = [
  { name: 'audit', about: 'an audit of 1 M records and 1 M pulls, with sampled signatures', run: measure },
]

const [, program, task, count = ''] = process.argv
if (program === fileURLToPath(import.meta.url) && task === 'reconcile')
  process.stdout.write(`${JSON.stringify(await reconcile(Number(count)))}\n`)
