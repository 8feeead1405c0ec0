/** `npm run bench`: what a relay costs, beside what it may cost. Loopback only; takes a few minutes at most. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { advertParts } from './adverts.ts'
import { auditParts } from './audit.ts'
import { authParts } from './auth.ts'
import { backupParts } from './backup.ts'
import { boxParts } from './boxes.ts'
import { chainParts } from './chain.ts'
import { contractParts } from './contracts.ts'
import { flowParts } from './flow.ts'
import { friendParts } from './friends.ts'
import { type Bench, type Figure, machine, type Part, tableHead, tableRow } from './figures.ts'
import { inventoryParts } from './inventories.ts'
import { ledgerParts } from './ledger.ts'
import { liveParts } from './live.ts'
import { marketParts } from './market/market.ts'
import { meteredParts } from './metered.ts'
import { paymentParts } from './payments.ts'
import { printProfiles } from './profile.ts'
import { readParts } from './reads.ts'
import { measureSpeed, type Speed } from './speed.ts'
import { syncParts } from './sync.ts'
import { usageParts } from './usage.ts'
import { walletParts } from './wallets.ts'
import { writeParts } from './writes.ts'

const parts: readonly Part[] = [
  ...writeParts,
  ...readParts,
  ...inventoryParts,
  ...liveParts,
  ...meteredParts,
  ...ledgerParts,
  ...usageParts,
  ...auditParts,
  ...backupParts,
  ...authParts,
  ...boxParts,
  ...chainParts,
  ...walletParts,
  ...paymentParts,
  ...contractParts,
  ...flowParts,
  ...syncParts,
  ...advertParts,
  ...friendParts,
  ...marketParts,
]
/** No part begins after this; --full fills a store three times as large. */
const budgetSeconds = { default: 250, full: 500 }
const exit = { ok: 0, failed: 1, usage: 2 } as const

const help = `npm run bench -- [NAME …] [options]
  NAME …         these parts alone; --only NAME is the same
  --json FILE    also write the figures there
  --full         the large store holds 1 M records
  --plots DIR    write plots of the simulated market there (default docs/plots)
  --profile DIR  write CPU profiles of the relays there and show where their time went
  --list         the parts
`
const options = {
  only: { type: 'string', multiple: true },
  json: { type: 'string' },
  full: { type: 'boolean', default: false },
  plots: { type: 'string', default: 'docs/plots' },
  profile: { type: 'string' },
  list: { type: 'boolean', default: false },
  help: { type: 'boolean', default: false },
} as const

interface Outcome {
  readonly name: string
  readonly seconds: number
  /** Of the machine, just before. */
  readonly speed?: Speed
  readonly figures: readonly Figure[]
  /** Why there are no figures. */
  readonly failure?: string
}

const print = (text: string): void => void process.stdout.write(`${text}\n`)

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true })
  const only = [...(values.only ?? []), ...positionals]
  const unknown = only.find((name) => !parts.some((part) => part.name === name))
  if (unknown !== undefined) throw new TypeError(`there is no part ${unknown}; --list lists them`)
  if (values.help) process.stdout.write(help)
  if (values.list) for (const { name, about } of parts) print(`${name.padEnd(14)}${about}`)
  if (values.help || values.list) return exit.ok

  const { cores, cpu, node } = machine()
  print(`${cores} cores, ${cpu}, node ${node}. CPU is that of the server process alone; "at ref" is the same`)
  print('at the speed of the machine on which the targets were set, (yes): met at that speed\n')
  print(tableHead())
  const outcomes: Outcome[] = []
  for (const part of parts) {
    if (only.length > 0 && !only.includes(part.name)) continue
    const spent = performance.now() / 1000
    const budget = values.full ? budgetSeconds.full : budgetSeconds.default
    if (spent < budget) outcomes.push(await run(part, values))
    else outcomes.push(failed(part, 'not begun, the run has taken its time'))
  }
  if (values.json !== undefined) {
    const report = { at: new Date().toISOString(), machine: machine(), parts: outcomes }
    writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
  }
  const targets = outcomes.flatMap(({ figures }) => figures.flatMap(({ target }) => target ?? []))
  const seconds = outcomes.reduce((sum, outcome) => sum + outcome.seconds, 0)
  print(
    `\n~ measured over less than 1 s of CPU. ${targets.filter(({ met }) => met).length} of ${targets.length} targets met, ${seconds.toFixed(0)} s`,
  )
  const isBroken = targets.some(({ met, isBinding }) => isBinding === true && !met)
  return isBroken || outcomes.some(({ failure }) => failure !== undefined) ? exit.failed : exit.ok
}

/** One part; its figures are shown at once. A part that fails has none. */
async function run(
  { name, run: work }: Part,
  values: { full: boolean; plots: string; profile?: string | undefined },
): Promise<Outcome> {
  const profile = values.profile === undefined ? undefined : `${values.profile}/${name}`
  if (profile !== undefined) mkdirSync(profile, { recursive: true })
  const note = (text: string) => void process.stderr.write(`  ${name}: ${text}\n`)
  const bench: Bench = { full: values.full, plots: values.plots, profile, note }
  const speed = await measureSpeed()
  const { verifyMicros, signMicros, factor } = speed
  note(
    `verify ${verifyMicros.toFixed(0)} + sign ${signMicros.toFixed(0)} µs on busy cores, reference 36 + 29`,
  )
  const began = performance.now()
  const elapsed = () => (performance.now() - began) / 1000
  try {
    const figures = await work(bench)
    for (const figure of figures) print(tableRow(figure, factor))
    if (profile !== undefined) printProfiles(profile, print)
    return { name, speed, seconds: elapsed(), figures }
  } catch (error) {
    const failure = error instanceof Error ? error.message : String(error)
    return { ...failed({ name }, failure), speed, seconds: elapsed() }
  }
}

function failed({ name }: Pick<Part, 'name'>, failure: string): Outcome {
  print(`${name} FAILED: ${failure}`)
  return { name, seconds: 0, figures: [], failure }
}

// A run that is stopped ends through `exit`, where relay-process.ts cleans up.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(exit.failed))

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n${help}`)
  process.exitCode = exit.usage
}
