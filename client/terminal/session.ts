/** What a command has to work with: the world it was started in, the client it asks for, the ways to answer. */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Readable } from 'node:stream'
import type { Key } from '../../market/units.ts'
import { Client } from '../client.ts'
import type { Notice } from '../context.ts'
import { codeOf, isUnpaid, messageOf, retold } from '../errors.ts'
import type { Progress } from '../files/transfer.ts'
import { sleep } from '../wire/retry.ts'
import { satoshis } from './command.ts'
import { type DialValues, dialOptions } from './dial-options.ts'
import { explain } from './explain.ts'
import { jsonLine, type Output, oneLine, progressBar, table, timeText } from './show.ts'

/** The world of one run of the program. */
export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly stdin: Readable
  readonly stdout: Output
  readonly stderr: Output
  /** Aborted when the user interrupts. */
  readonly signal: AbortSignal
}

export interface GlobalValues extends DialValues {
  readonly home?: string | undefined
  readonly json?: boolean | undefined
  readonly human?: boolean | undefined
  readonly 'max-spend'?: string | undefined
}

interface Failure {
  readonly relay: string
  readonly error: Error
}

export class Session {
  readonly io: Io
  readonly directory: string
  readonly isJson: boolean
  /** In satoshi, of what is ever signed over in any contract. */
  readonly maxSpend: number | undefined
  readonly #values: DialValues
  #client: Client | undefined
  #barIsOpen = false
  /** A relay took more than was agreed: whatever else the command did, it did not go well. */
  #isOvercharged = false
  #isSilent = true
  /** By URL, as far as friends were asked for: `your` or `Bob's`. */
  readonly #whose = new Map<string, string>()
  /** What need not be said again. */
  readonly #said = new Set<string>()

  /** @throws ERR_USAGE */
  constructor(io: Io, values: GlobalValues) {
    const { home, json, human, 'max-spend': most } = values
    this.io = io
    this.#values = values
    // An empty variable is one that is not set; otherwise the home would be wherever the user happens to be.
    this.directory = resolve(home ?? (io.env.RELAY_HOME || join(homedir(), '.relay')))
    this.isJson = json ?? (human ? false : !io.stdout.isTTY)
    this.maxSpend = most === undefined ? undefined : satoshis(most, 'max-spend')
  }

  get isOvercharged(): boolean {
    return this.#isOvercharged
  }

  /** Nothing was printed or said yet. */
  get isSilent(): boolean {
    return this.#isSilent
  }

  get signal(): AbortSignal {
    return this.io.signal
  }

  /** Waits so long. @returns whether the user had enough meanwhile */
  async isStoppedWithin(ms: number): Promise<boolean> {
    await sleep(ms, this.signal).catch(() => undefined) // he had
    return this.signal.aborted
  }

  get options() {
    const onNotice = (notice: Notice) => this.notice(notice)
    const { env } = this.io
    const dial = dialOptions(this.#values, env)
    return { passphrase: env.RELAY_PASSPHRASE, maxSpend: this.maxSpend, onNotice, ...dial }
  }

  async client(): Promise<Client> {
    this.#client ??= await Client.open(this.directory, this.options)
    return this.#client
  }

  /** What the user calls friends, by their keys. */
  async names(): Promise<Map<Key, string>> {
    const client = await this.client()
    const friends = await client.friends()
    for (const { alias, relays } of friends) for (const { url } of relays) this.#whose.set(url, `${alias}'s`)
    for (const { url } of await client.relays()) this.#whose.set(url, 'your')
    return new Map(friends.map(({ key, alias }) => [key, alias]))
  }

  /** A result: one JSON line, or one line or paragraph for people. */
  print(value: object, human: string): void {
    this.endBar()
    this.#isSilent = false
    this.io.stdout.write(this.isJson ? jsonLine(value) : `${human}\n`)
  }

  /** Results of one kind: JSON lines, or a table of some of their columns. */
  list(rows: readonly Readonly<Record<string, unknown>>[], columns: readonly string[], empty: string): void {
    if (this.isJson) for (const row of rows) this.io.stdout.write(jsonLine(row))
    else if (rows.length === 0) this.say(empty)
    else this.io.stdout.write(table(columns, rows))
  }

  /** Talk, on stderr: it is not the result. */
  say(text: string): void {
    this.endBar()
    this.#isSilent = false
    this.io.stderr.write(`${oneLine(text)}\n`)
  }

  notice(notice: Notice): void {
    if (notice.type === 'overcharged') this.#isOvercharged = true
    const text = this.#textOf(notice)
    if (!this.#said.has(text)) this.say(text)
    this.#said.add(text)
  }

  /** What the command will fail with is said then, and not before. */
  hold(failure: Failure | undefined): void {
    if (failure !== undefined) this.#said.add(this.#textOf({ type: 'relay-failed', ...failure }))
  }

  /** A failure's error; of a relay that is not reached it says whose that is. */
  errorOf({ relay, error }: Failure): Error {
    const whose = this.#whose.get(relay)
    if (whose === undefined || codeOf(error) !== 'ERR_UNREACHABLE') return error
    return retold(error, `${whose} relay: ${messageOf(error)}`)
  }

  #textOf(notice: Notice): string {
    return noticeText(
      'relay' in notice && 'error' in notice ? { ...notice, error: this.errorOf(notice) } : notice,
    )
  }

  /** What was said may be news again. */
  forget(): void {
    this.#said.clear()
  }

  /** Failures that did not stop the command. */
  warn(failures: readonly Failure[]): void {
    for (const { relay, error } of failures) this.notice({ type: 'relay-failed', relay, error })
  }

  /** A bar for a terminal; undefined where nobody would see it move. */
  get onProgress(): ((progress: Progress) => void) | undefined {
    const { stderr } = this.io
    if (this.isJson || !stderr.isTTY) return undefined
    return ({ direction, name, doneBytes, totalBytes }) => {
      this.#barIsOpen = true
      stderr.write(`\r\x1b[K${direction} ${oneLine(name)} ${progressBar(doneBytes, totalBytes)}`)
    }
  }

  /** A line for a terminal that the next one takes the place of. */
  progress(text: string): void {
    const { stderr } = this.io
    if (this.isJson || !stderr.isTTY) return
    this.#barIsOpen = true
    stderr.write(`\r\x1b[K${oneLine(text)}`)
  }

  endBar(): void {
    if (this.#barIsOpen) this.io.stderr.write('\n')
    this.#barIsOpen = false
  }
}

/** An error that names its relay need not be told whose it is. */
function failureText({ relay, error }: Failure): string {
  const text = explain(error)
  return isUnpaid(error) || text.includes(relay) ? text : `${relay}: ${text}`
}

function overchargedText(notice: Extract<Notice, { type: 'overcharged' }>): string {
  const { relay, recordId, quoted, reserved, hasEnded } = notice
  const what = `${relay} reserved ${reserved} satoshi for ${recordId}, though it was to be ${quoted} at most`
  const why = hasEnded ? 'its quote had just ended' : 'it broke its word'
  return `WARNING: ${what}: ${why}, and the signed proof is kept in the outbox of your home`
}

function noticeText(notice: Notice): string {
  switch (notice.type) {
    case 'plain-http':
      return `note: ${notice.relay} is plain http: contents are encrypted, but the network sees who writes to whom`
    case 'relay-failed':
      return `warning: ${failureText(notice)}`
    case 'relay-unchecked':
      return `note: nobody answers at ${notice.relay}: its key is not checked yet`
    case 'boxes':
      return `note: messages in boxes wait at ${notice.relay}: apps that use message boxes (BRC-33) with your key show them`
    case 'overcharged':
      return overchargedText(notice)
    case 'damaged':
      return `warning: ${messageOf(notice.error)}`
    case 'record-unread':
      return `warning: ${notice.path} was not read: ${messageOf(notice.error)}`
    case 'transfer-failed':
      return `warning: the transfer of ${notice.name} stopped: ${explain(notice.error)}`
    case 'backup-unplaced':
      return `note: the backup of your coins is not on all your relays: ${explain(notice.error)}`
    case 'backup-paid':
      return 'note: your relays keep an encrypted backup of your coins, paid from your credit there like any record'
    case 'contract-ending':
      return `note: the contract ${notice.contract.slice(0, 16)} with ${notice.relay} serves until ${timeText(notice.serviceEnd)}: relay contract renew or close it, or relay agent renews it`
    case 'friend-moved':
      return `note: ${notice.name} is now on ${notice.relays.map(withoutKey).join(' ') || 'no relay'}`
    case 'friend-forked':
      return `WARNING: the key of ${notice.friend} signed two contradicting identity files: somebody else may have it`
  }
}

const withoutKey = (address: string): string => address.replace(/#.*$/, '')
