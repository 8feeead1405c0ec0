/** The market at the size of a large one (docs/protocol.md §12): verifying adverts, merging 10 000, choosing among 10 000. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { fromHex, toHex } from '../market/bytes.ts'
import { checkAdvert, decodeAdvert, sealAdvert } from '../market/advert.ts'
import { AdvertBook } from '../market/advert-book.ts'
import { chooseSet } from '../market/choose-set.ts'
import { MarketError } from '../market/errors.ts'
import { sha256 } from '../market/hash.ts'
import { assess, type Candidate, noEvidence } from '../market/score.ts'
import { dayMs } from '../market/units.ts'
import { usualPattern } from '../market/usage-pattern.ts'
import type { Figure, Part } from './figures.ts'

const relays = 10_000
/** Of a flood, into a book that holds `relays`. */
const flood = 100_000
/** Made and offered at once, so that only the book grows. */
const wave = 5000
const mostMs = { merge: 5000, flood: 5000, choose: 1000 } as const
const now = 1_800_000_000_000
const policy = { now, bits: 0 }

/** Of as many relays, on as many networks as there are in an internet of /16s; stamps cost nothing here. */
async function adverts(from: number, to: number): Promise<string[]> {
  const texts: string[] = []
  for (let index = from; index < to; index++) {
    const signer = new KeyWallet(fromHex(toHex(sha256(`relay ${index}`))))
    const claims = {
      ...{ type: 'serverBroadcast' as const, serverPubKey: signer.identity },
      address: `https://relay.site${index % 7000}.example`,
      storageCostPerGigPerDay: 1000 + ((index * 7919) % 9000),
      bandwidthCostPerGig: 50_000 + ((index * 104_729) % 100_000),
      ...{ ingressCostPerGig: 20_000, network: 'main' as const, protocol: 1 as const },
      features: ['store', 'batch', 'listen', 'quote', 'contracts'],
      limits: { recordBytes: 10_000_000, ttl: 90 * 86_400 },
      ...{ timestamp: now - (index % 1000), expires: now + dayMs, seq: now - 1000 },
    }
    texts.push((await sealAdvert(claims, '0', signer)).text)
  }
  return texts
}

/** Of this process: what else runs on the machine does not count. */
function timed<T>(work: () => T): { ms: number; result: T } {
  const began = process.cpuUsage()
  const result = work()
  const { user, system } = process.cpuUsage(began)
  return { ms: (user + system) / 1000, result }
}

const within = (ms: number, most: number) => ({
  value: { amount: ms, unit: 'ms' },
  target: { text: `< ${most / 1000} s`, met: ms < most, isBinding: true },
})

/** What is not held any more is no memory of the book's. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
}

/** Ten times as many relays as the book holds, as they come: it keeps the best, and never more. */
async function flooded(): Promise<{ ms: number; bytes: number }> {
  const book = new AdvertBook({ most: relays })
  collectGarbage()
  const before = process.memoryUsage().heapUsed
  let ms = 0
  for (let from = 0; from < flood; from += wave) {
    const texts = await adverts(from, from + wave)
    ms += timed(() => {
      for (const text of texts)
        try {
          book.offer(text, policy)
        } catch (error) {
          if (!(error instanceof MarketError) || error.code !== 'ERR_BUSY') throw error
        }
    }).ms
  }
  if (book.size !== relays) throw new Error(`the book holds ${book.size}`)
  collectGarbage()
  return { ms, bytes: Math.max(0, process.memoryUsage().heapUsed - before) / relays }
}

/** Every other one was probed, and a hundredth had contracts. */
function candidateOf(sealed: Candidate['sealed'], index: number): Candidate {
  const none = noEvidence(now - (index % 40) * dayMs)
  const answered = index % 5
  const probes = { ...none.probes, asked: 5, answered, isLastAnswered: answered > 0 }
  const latencyMs = answered === 0 ? null : 10 + (index % 300)
  const contracts = index % 100 === 0 ? { open: 1, kept: 2, broken: index % 3 } : none.contracts
  const evidence = index % 2 === 0 ? none : { ...none, probes: { ...probes, latencyMs }, contracts }
  const addresses = [`${1 + (index % 200)}.${(index * 7) % 256}.1.1`]
  return { sealed, channels: ['board:https://a.example'], addresses, isPrivate: false, evidence }
}

async function run(): Promise<Figure[]> {
  const texts = await adverts(0, relays)
  const decoded = timed(() => texts.map((text) => decodeAdvert(text)))
  const checked = timed(() => decoded.result.map((sealed) => checkAdvert(sealed, policy)))
  const book = new AdvertBook({ most: relays })
  const merged = timed(() => {
    for (const text of texts) book.offer(text, policy)
  })
  if (book.size !== relays) throw new Error(`${book.size} adverts were merged`)
  const again = timed(() => {
    for (const text of texts) book.offer(text, policy)
  })
  const tenfold = await flooded()
  const candidates = checked.result.map(candidateOf)
  const asking = { pattern: usualPattern, limits: { network: 'main' as const, bits: 0 }, now }
  const chosen = timed(() => chooseSet(assess(candidates, asking), { count: 8, budget: 100_000 }))
  if (chosen.result.chosen.length !== 8) throw new Error(chosen.result.short ?? 'no set was chosen')
  // All of them under one roof: the worst case for looking for neighbours.
  const crowd = candidates.map((one) => ({ ...one, addresses: ['9.9.1.1'] }))
  const crowded = timed(() => chooseSet(assess(crowd, asking), { count: 8, budget: 100_000 }))
  const rate = (ms: number, operations = relays) => ({
    operations,
    opsPerSecond: (operations * 1000) / ms,
    cpuMicros: (ms * 1000) / operations,
    cpuTotalMs: ms,
  })
  return [
    { what: 'advert: parse, schema, measure its stamp', ...rate(decoded.ms) },
    { what: 'advert: verify (stamp and times known)', ...rate(checked.ms) },
    { what: `merge ${relays} adverts of as many relays`, ...within(merged.ms, mostMs.merge) },
    { what: 'the same again, from another channel', ...rate(again.ms) },
    {
      what: `merge ${flood} into a book of ${relays}`,
      ...rate(tenfold.ms, flood),
      target: {
        text: `≤ ${(mostMs.flood * 1000) / flood} µs: 5 s in all`,
        met: tenfold.ms < mostMs.flood,
        micros: (mostMs.flood * 1000) / flood,
      },
    },
    { what: 'heap for each that it holds', value: { amount: tenfold.bytes, unit: 'bytes' } },
    { what: `choose 8 of ${relays} relays, all explained`, ...within(chosen.ms, mostMs.choose) },
    { what: 'the same, all in one network', ...within(crowded.ms, mostMs.choose) },
  ]
}

export const advertParts: readonly Part[] = [
  { name: 'adverts', about: 'adverts verified and merged, relays chosen among 10 000', run },
]
