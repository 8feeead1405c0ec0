/** What a backup costs the relay that goes on serving, and how long it takes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { checkWrites } from './checks.ts'
import { type Bench, type Figure, type Part, percentile } from './figures.ts'
import { figureOf, type Load, load } from './load.ts'
import { type Parties, parties, sealRecords } from './messages.ts'
import { type RelayProcess, runChild, withFolder, withRelay } from './relay-process.ts'
import { warmUp } from './writes.ts'

const filler = fileURLToPath(new URL('./fill.js', import.meta.url))
const relayd = fileURLToPath(new URL('../relay/main.js', import.meta.url))
const kib = 1024
/** About 250 MB, so that a backup lasts longer than it is measured. */
const stored = { records: 120_000, bytes: kib }
const concurrency = 64
/** Writes without and with a backup take short turns and are compared in pairs: the speed of a machine changes. */
const rounds = 14
const writesPerRound = 3000
const mostLoss = 10
const beginMs = 10_000

const children = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

async function backups(bench: Bench): Promise<Figure[]> {
  return withFolder(async (folder) => {
    const data = join(folder, 'data')
    mkdirSync(data)
    bench.note(`filling a store with ${stored.records} records`)
    const receiver = KeyWallet.random().identity
    await runChild(filler, [join(data, 'store'), receiver, String(stored.records), String(stored.bytes)])
    return withRelay(bench, { data }, async (relay) => {
      const between = parties()
      await warmUp(relay, between)
      const [without, during]: [Load[], Load[]] = [[], []]
      const rates: number[] = []
      for (let round = 0; round < rounds; round++) {
        without.push(await write(relay, between))
        const messages = await sealed(relay, between)
        const backup = await startBackup(data, join(folder, `backup-${round}`))
        during.push(await write(relay, between, messages))
        rates.push(await backup.stop())
      }
      bench.note('and one while nothing is asked')
      const whole = await startBackup(data, join(folder, 'whole'))
      return [...compared(without, during), ...lasting(rates, await whole.end())]
    })
  })
}

const sealed = (relay: RelayProcess, between: Parties) =>
  sealRecords({ ...between, relay: relay.key, count: writesPerRound, bytes: kib })

async function write(relay: RelayProcess, between: Parties, given?: Awaited<ReturnType<typeof sealed>>) {
  const records = given ?? (await sealed(relay, between))
  const measured = await load(relay, records, concurrency)
  checkWrites(records, measured.answers, relay.key)
  return measured
}

/** `relayd backup`, from the moment its file is there. Both ways to end it tell how fast it was, in MB/s. */
async function startBackup(data: string, directory: string) {
  const child = spawn(process.execPath, [relayd, 'backup', directory, '--data', data], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  children.add(child)
  child.once('exit', () => children.delete(child))
  const part = join(directory, 'store.backup.part')
  for (let waitedMs = 0; !existsSync(part); waitedMs += 5) {
    if (waitedMs > beginMs || child.exitCode !== null) throw new Error('the backup did not begin')
    await setTimeout(5)
  }
  const began = performance.now()
  const rate = (file: string) => statSync(file).size / (performance.now() - began) / 1000
  return {
    async stop(): Promise<number> {
      if (!existsSync(part)) throw new Error('the backup ended before the writes did')
      const reached = rate(part)
      await ended(child, () => child.kill('SIGKILL'))
      while (existsSync(part)) await setTimeout(5)
      return reached
    },
    async end(): Promise<number> {
      const code = await ended(child)
      if (code !== 0) throw new Error(`the backup ended with ${code}`)
      return rate(join(directory, 'store.backup'))
    },
  }
}

async function ended(child: ChildProcess, act = (): unknown => undefined): Promise<unknown> {
  const exit = once(child, 'exit')
  act()
  return (await exit)[0]
}

/** Rounds as one load. */
const together = (loads: readonly Load[]): Load => ({
  answers: loads.flatMap(({ answers }) => answers),
  latenciesMs: Float64Array.from(loads.flatMap(({ latenciesMs }) => [...latenciesMs])),
  wallMs: loads.reduce((sum, { wallMs }) => sum + wallMs, 0),
  cpuMicros: loads.reduce((sum, { cpuMicros }) => sum + cpuMicros, 0),
})

function compared(without: readonly Load[], during: readonly Load[]): Figure[] {
  const losses = without.map(({ wallMs }, round) => (1 - wallMs / during[round]!.wallMs) * 100)
  const loss = percentile(losses, 0.5)
  return [
    figureOf(`write 1 KB, concurrency ${concurrency}, no backup`, together(without)),
    figureOf(`write 1 KB, concurrency ${concurrency}, during a backup`, together(during)),
    {
      what: 'writes lost to a backup, median of the rounds',
      value: { amount: loss, unit: '%' },
      target: { text: `< ${mostLoss} %`, met: loss < mostLoss },
    },
  ]
}

function lasting(busy: readonly number[], idle: number): Figure[] {
  const mean = busy.reduce((sum, rate) => sum + rate, 0) / busy.length
  return [
    { what: 'backup of a relay that writes all it can', value: { amount: mean, unit: 'MB/s' } },
    { what: 'backup of an idle relay', value: { amount: idle, unit: 'MB/s' } },
  ]
}

export const backupParts: readonly Part[] = [
  { name: 'backup', about: 'writes without and with a backup running beside them', run: backups },
]
