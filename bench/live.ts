/** Pushes: how soon they come, what they cost, and what it takes to hold many who wait for them. */
import { execFileSync } from 'node:child_process'
import { checkWrites } from './checks.ts'
import type { Bench, Figure, Part } from './figures.ts'
import { percentile } from './figures.ts'
import { type Answer, HttpPool } from './http.ts'
import { type Listener, listen } from './listener.ts'
import { people, type RecordMessage, sealRecords } from './messages.ts'
import { type RelayProcess, withRelay } from './relay-process.ts'
import { warmUp } from './writes.ts'

const writesPerSecond = 1000
const writeSeconds = 6
const connections = 64
const lastPushMs = 5000

const idleListeners = 10_000
/** Files a process needs besides its sockets. */
const otherFiles = 1000
const openedAtOnce = 100
const settleMs = 3000
const idleMs = 10_000
const mega = 1e6

async function pushes(bench: Bench): Promise<Figure[]> {
  return withRelay(bench, {}, async (relay) => {
    await warmUp(relay)
    return [await pacedWrites(relay, 'nobody listening'), ...(await deliveries(relay, 'one listener'))]
  })
}

async function deliveries(relay: RelayProcess, whom: string): Promise<Figure[]> {
  const receiver = people(1)
  const [reader] = receiver
  const pushed = new Map<string, number>()
  let received = 0
  const listener = await listen(relay, reader!, (paths) => {
    const now = performance.now()
    received += paths.length
    for (const path of paths) pushed.set(path, now)
  })
  const run = await pace(relay, receiver)
  const deadline = performance.now() + lastPushMs
  while (pushed.size < run.records.length && performance.now() < deadline) await sleep(10)
  listener.close()
  if (received > pushed.size) throw new Error(`${received - pushed.size} paths were pushed twice`)
  const delays = run.records.map(({ path }, index) => {
    const at = pushed.get(path)
    if (at === undefined) throw new Error(`${path} was never pushed`)
    return { sinceAsked: at - run.askedAt[index]!, sinceArrival: at - run.arrivedAt[index]! }
  })
  const asked = delays.map(({ sinceAsked }) => sinceAsked)
  const arrived = delays.map(({ sinceArrival }) => sinceArrival)
  const p50Ms = percentile(asked, 0.5)
  const p99Ms = percentile(asked, 0.99)
  return [
    {
      ...cost(`write sent → push received, ${whom}`, run),
      p50Ms,
      p99Ms,
      target: { text: 'p50 < 5, p99 < 25 ms at 1000/s', met: p50Ms < 5 && p99Ms < 25 },
    },
    {
      what: `arrival (receipt) → push received, ${whom}`,
      p50Ms: percentile(arrived, 0.5),
      p99Ms: percentile(arrived, 0.99),
    },
  ]
}

async function pacedWrites(relay: RelayProcess, whom: string): Promise<Figure> {
  const run = await pace(relay, people(1))
  const latencies = run.answeredAt.map((at, index) => at - run.askedAt[index]!)
  return {
    ...cost(`write 1 KB at 1000/s, ${whom}`, run),
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
  }
}

interface PacedRun {
  readonly records: readonly RecordMessage[]
  readonly askedAt: readonly number[]
  readonly answeredAt: readonly number[]
  /** When the relay began the batch that made each durable, on its own clock, which here is ours; whole milliseconds. */
  readonly arrivedAt: readonly number[]
  readonly wallMs: number
  readonly cpuMicros: number
}

const cost = (what: string, { records, wallMs, cpuMicros }: PacedRun) => ({
  what,
  operations: records.length,
  opsPerSecond: (records.length / wallMs) * 1000,
  cpuMicros: cpuMicros / records.length,
  cpuTotalMs: cpuMicros / 1000,
})

/** Writes at a fixed rate, however long the answers take: what a slow relay delays counts against it. */
async function pace(relay: RelayProcess, receivers: ReturnType<typeof people>): Promise<PacedRun> {
  const count = writesPerSecond * writeSeconds
  const options = { relay: relay.key, count, bytes: 1024, owners: people(64), receivers }
  const records = await sealRecords(options)
  const pool = await HttpPool.open(relay.url, connections)
  const askedAt: number[] = []
  const answeredAt: number[] = new Array(count)
  const answers: Promise<Answer>[] = []
  const cpuBefore = relay.cpuMicros()
  const began = performance.now()
  while (answers.length < count) {
    const due = Math.min(count, Math.floor(((performance.now() - began) * writesPerSecond) / 1000))
    for (let index = answers.length; index < due; index++) {
      askedAt.push(performance.now())
      const answer = pool.post(records[index]!.text)
      answer.then(
        () => {
          answeredAt[index] = performance.now()
        },
        () => undefined, // told by `answers`, below
      )
      answers.push(answer)
    }
    await sleep(1)
  }
  const given = await Promise.all(answers)
  const wallMs = performance.now() - began
  const cpuMicros = relay.cpuMicros() - cpuBefore
  pool.close()
  const receipts = checkWrites(records, given, relay.key)
  const arrivedAt = receipts.map(({ at }) => at - performance.timeOrigin)
  return { records, askedAt, answeredAt, arrivedAt, wallMs, cpuMicros }
}

async function idle(bench: Bench): Promise<Figure[]> {
  const count = Math.min(idleListeners, openFiles() - otherFiles)
  if (count < idleListeners)
    bench.note(`only ${count} sockets: the limit of open files (ulimit -Hn) allows no more`)
  const limits = ['connections=20000', 'connectionsPerAddress=20000', 'subscriptionsPerAddress=20000']
  return withRelay(bench, { limits }, async (relay) => {
    await sleep(settleMs)
    const before = relay.rssBytes()
    const listeners = await openListeners(relay, count)
    await sleep(settleMs)
    const rss = relay.rssBytes()
    const cpuBefore = relay.cpuMicros()
    await sleep(idleMs)
    const cpuPerSecond = (relay.cpuMicros() - cpuBefore) / (idleMs / 1000)
    await warmUp(relay)
    const busy = await deliveries(relay, `${count} others idle`)
    const lost = listeners.filter(({ isOpen }) => !isOpen()).length
    if (lost > 0) throw new Error(`${lost} of ${count} idle listeners were cut off`)
    for (const listener of listeners) listener.close()
    return [
      { what: 'memory, idle, empty store', value: { amount: before / mega, unit: 'MB' } },
      {
        what: `memory, ${count} idle listeners`,
        value: { amount: rss / mega, unit: 'MB' },
        target: { text: '10,000 in < 500 MB', met: rss < 500 * mega * (count / idleListeners) },
      },
      { what: 'memory of one idle listener', value: { amount: (rss - before) / count / 1000, unit: 'kB' } },
      { what: `CPU of ${count} idle listeners`, value: { amount: cpuPerSecond / 1000, unit: 'ms/s' } },
      ...busy,
    ]
  })
}

async function openListeners(relay: RelayProcess, count: number): Promise<Listener[]> {
  const readers = people(count)
  const listeners: Listener[] = []
  const open = async (): Promise<void> => {
    for (let reader = readers.pop(); reader !== undefined; reader = readers.pop()) {
      listeners.push(await listen(relay, reader))
    }
  }
  await Promise.all(Array.from({ length: openedAtOnce }, open))
  return listeners
}

/** How many files a process of ours may open; node raises its own limit to the hard one. */
function openFiles(): number {
  const text = execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'latin1' }).trim()
  return text === 'unlimited' ? Number.POSITIVE_INFINITY : Number(text)
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

export const liveParts: readonly Part[] = [
  { name: 'listen', about: 'from write to push at 1000 writes/s', run: pushes },
  {
    name: 'idle',
    about: 'memory and CPU of 10 000 idle listeners, and pushes among them',
    run: idle,
  },
]
