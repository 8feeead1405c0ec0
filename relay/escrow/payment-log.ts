/**
 * What contracts were opened, what clients have signed, and how little we have, once more in a file of its own, wherever the
 * operator puts it: what a store that is lost with its disk must not take along. A line for each, in JSON; synced before
 * anything is served for it.
 */
import { createReadStream } from 'node:fs'
import { type FileHandle, open, rename, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { z } from 'zod'
import { ContractPayment } from '../../contracts/escrow/messages.ts'
import { Terms } from '../../contracts/escrow/terms.ts'
import { Hash, Key } from '../../market/units.ts'
import { syncDirectory } from '../store/backup.ts'
import { Facts } from '../store/contracts.ts'

const Line = z.union([
  ContractPayment,
  /** We signed this settled; the client may publish it. */
  z.strictObject({ type: z.literal('signed'), contract: Hash, settled: z.int().min(0) }),
  /** Money is in it from now on: all that it takes to know it again (reopening.ts). */
  z.strictObject({
    type: z.literal('opened'),
    contract: Hash,
    owner: Key,
    terms: Terms,
    facts: Facts.pick({ openedAt: true, request: true, funding: true, ours: true, renews: true }),
    tx: z.string(),
  }),
])
export type Line = z.infer<typeof Line>
export type Opened = Extract<Line, { type: 'opened' }>

interface Waiting {
  readonly text: string
  readonly done: () => void
  readonly failed: (error: unknown) => void
}

/** What is known of a contract: how it was opened, its latest payments, oldest first, and the least settled that we signed. */
export interface Logged {
  readonly payments: ContractPayment[]
  signed: number | null
  opened: Opened | null
}

/** Of one contract; more than one, since those on a funding under another id count for nothing. */
const keptPayments = 4
/** Above it, a start writes the file anew with what counts. */
const mostBytes = 64 << 20

export class PaymentLog {
  readonly #path: string
  readonly #file: FileHandle
  #waiting: Waiting[] = []
  #writing: Promise<void> | undefined
  /** A write failed, and may have left a part of a line. */
  #isTorn = false
  #failures = 0

  /** Ends what an interrupted write left of a line. */
  static async open(path: string, compactAbove = mostBytes): Promise<PaymentLog> {
    const size = await stat(path).then(
      (found) => found.size,
      () => 0,
    )
    if (size > compactAbove) await compact(path)
    const file = await open(path, 'a', 0o600)
    if (size > 0) {
      await file.appendFile('\n')
      await file.datasync()
    }
    return new PaymentLog(path, file)
  }

  private constructor(path: string, file: FileHandle) {
    this.#path = path
    this.#file = file
  }

  /** Writes that failed since the start. */
  get failures(): number {
    return this.#failures
  }

  /** Resolves when it is on disk. Lines that wait together share one sync. */
  append(line: Line): Promise<void> {
    return new Promise((done, failed) => {
      this.#waiting.push({ text: `${JSON.stringify(line)}\n`, done, failed })
      this.#writing ??= this.#write()
    })
  }

  /** What is known of each contract. */
  read(): Promise<Map<Hash, Logged>> {
    return readLog(this.#path)
  }

  async close(): Promise<void> {
    await this.#writing
    await this.#file.close()
  }

  async #write(): Promise<void> {
    while (this.#waiting.length > 0) {
      const lines = this.#waiting
      this.#waiting = []
      let settle = ({ done }: Waiting): void => done()
      try {
        const text = lines.map(({ text }) => text).join('')
        await this.#file.appendFile(this.#isTorn ? `\n${text}` : text)
        await this.#file.datasync()
        this.#isTorn = false
      } catch (error) {
        this.#isTorn = true
        this.#failures++
        settle = ({ failed }) => failed(error)
      }
      // Before anybody is told, who may append at once.
      if (this.#waiting.length === 0) this.#writing = undefined
      for (const line of lines) settle(line)
    }
  }
}

/** The last word on each contract; what is no line is passed over. */
async function readLog(path: string): Promise<Map<Hash, Logged>> {
  const known = new Map<Hash, Logged>()
  for await (const text of createInterface({ input: createReadStream(path) })) {
    const line = parse(text)
    if (line === undefined) continue
    const entry = known.get(line.contract) ?? { payments: [], signed: null, opened: null }
    known.set(line.contract, entry)
    if (line.type === 'signed') entry.signed = Math.min(line.settled, entry.signed ?? line.settled)
    else if (line.type === 'opened') entry.opened = line
    else if (entry.payments.push(line) > keptPayments) entry.payments.shift()
  }
  return known
}

async function compact(path: string): Promise<void> {
  const lines: Line[] = []
  for (const [contract, { payments, signed, opened }] of await readLog(path)) {
    if (opened !== null) lines.push(opened)
    lines.push(...payments)
    if (signed !== null) lines.push({ type: 'signed', contract, settled: signed })
  }
  const part = `${path}.part`
  const file = await open(part, 'w', 0o600)
  try {
    await file.writeFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(part, path)
  await syncDirectory(dirname(path))
}

function parse(text: string): Line | undefined {
  try {
    return Line.safeParse(JSON.parse(text)).data
  } catch {
    return undefined // cut off by a crash, and so never promised
  }
}
