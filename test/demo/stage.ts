/** What every chapter of the demo stands on: real relayd and relay processes in a temporary folder, and a narrator. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const program = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const relayd = program('relay/main.js')
const relay = program('client/main.js')
const watchful = program('test/demo/relayd.js')
const later = program('test/demo/later.js')

/** One JSON line that a command printed. */
export type Line = Record<string, unknown>

export interface RelayServer {
  readonly name: string
  readonly url: string
  readonly key: string
  readonly child: ChildProcess
}

export interface Person {
  readonly name: string
  readonly home: string
}

export class Stage {
  readonly folder: string
  readonly #children = new Set<ChildProcess>()
  readonly #started = performance.now()
  #laterMs = 0

  private constructor(folder: string) {
    this.folder = folder
  }

  /** Runs a chapter and clears everything away after it, whatever happened. */
  static async perform(chapter: (stage: Stage) => Promise<void>): Promise<void> {
    const stage = new Stage(await mkdtemp(join(tmpdir(), 'relay-demo-')))
    try {
      await chapter(stage)
    } finally {
      for (const child of stage.#children) child.kill('SIGKILL')
      await rm(stage.folder, { recursive: true, force: true, maxRetries: 5 })
    }
  }

  /** Seconds since the curtain rose. */
  get seconds(): number {
    return (performance.now() - this.#started) / 1000
  }

  /** By the clocks of the programs that are started from now on, milliseconds since 1970. */
  get now(): number {
    return Date.now() + this.#laterMs
  }

  /** Moves those clocks on. What runs keeps its own: it is to be stopped before. */
  passTime(seconds: number): void {
    this.#laterMs += seconds * 1000
  }

  title(text: string): void {
    process.stdout.write(`\n${text}\n${'─'.repeat(text.length)}\n`)
  }

  say(text: string): void {
    process.stdout.write(`  ${text}\n`)
  }

  /**
   * Starts a relay on a free port, or on the one it had; everybody may write, unless `options` say what it sells.
   * @param given.isWatchful it looks at the chain all the time (relayd.ts)
   */
  async startRelay(
    name: string,
    {
      port = 0,
      options = ['--open'],
      isWatchful = false,
      isQuiet = false,
    }: { port?: number; options?: readonly string[]; isWatchful?: boolean; isQuiet?: boolean } = {},
  ): Promise<RelayServer> {
    const data = join(this.folder, name)
    const quiet = ['--listen', `127.0.0.1:${port}`, '--min-free-disk', '0', '--log-level', 'error']
    const child = this.#spawn(isWatchful ? watchful : relayd, ['start', '--data', data, ...quiet, ...options])
    const { url, key } = JSON.parse(await firstLine(child)) as { url: string; key: string }
    if (!isQuiet)
      this.say(`$ relayd start --data ${name} ${options.join(' ')}     → ${url}, key ${short(key)}`)
    return { name, url, key, child }
  }

  /** Runs a command of the operator on the data folder `name` and returns the lines it printed. @throws when it fails */
  async operate(name: string, ...args: string[]): Promise<string[]> {
    const child = this.#spawn(relayd, [...args, '--data', join(this.folder, name)])
    const lines: string[] = []
    let errors = ''
    child.stderr?.on('data', (chunk) => {
      errors += chunk
    })
    const code = new Promise((resolve) => child.once('close', resolve))
    for await (const line of createInterface({ input: child.stdout! })) lines.push(line) // stdout is piped
    if ((await code) !== 0) throw new Error(`relayd ${args.join(' ')} failed: ${errors}${lines.join('\n')}`)
    return lines
  }

  /** `kill -9`, and waits until the process is gone. */
  async killRelay({ child }: RelayServer): Promise<void> {
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await gone
  }

  /** As an operator stops it: what it accepted is finished. */
  async stopRelay({ child }: RelayServer): Promise<void> {
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGTERM')
    await gone
  }

  person(name: string): Person {
    return { name, home: join(this.folder, name.toLowerCase()) }
  }

  /** Runs `relay` as that person and returns the JSON lines it printed. @throws when it fails */
  async run(person: Person, ...args: string[]): Promise<Line[]> {
    return (await this.hear(person, ...args)).lines
  }

  /** `run`, with what the command said besides on stderr, line by line. @throws when it fails */
  async hear(person: Person, ...args: string[]): Promise<{ lines: Line[]; notes: string[] }> {
    const { code, lines, errors } = await this.tryRun(person, ...args)
    if (code !== 0) throw new Error(`relay ${args.join(' ')} exited with ${code}: ${errors}`)
    return { lines, notes: errors.split('\n').filter((text) => text !== '') }
  }

  /** `run` for commands that may fail. */
  async tryRun(person: Person, ...args: string[]): Promise<{ code: number; lines: Line[]; errors: string }> {
    const child = this.#spawn(relay, ['--home', person.home, '--json', ...args])
    const lines: Line[] = []
    let errors = ''
    child.stderr?.on('data', (chunk) => {
      errors += chunk
    })
    const code = new Promise<number>((resolve) => child.once('close', (status) => resolve(status ?? -1)))
    for await (const line of createInterface({ input: child.stdout! })) lines.push(JSON.parse(line) as Line) // stdout is piped
    return { code: await code, lines, errors }
  }

  /** Runs a command whose words are for people, and shows them. @throws when it fails */
  async show(person: Person, ...args: string[]): Promise<string[]> {
    const child = this.#spawn(relay, ['--home', person.home, ...args, '--human'])
    const lines: string[] = []
    let errors = ''
    child.stderr?.on('data', (chunk) => {
      errors += chunk
    })
    const code = new Promise((resolve) => child.once('close', resolve))
    for await (const line of createInterface({ input: child.stdout! })) lines.push(line) // stdout is piped
    if ((await code) !== 0) throw new Error(`relay ${args.join(' ')} failed: ${errors}`)
    for (const line of lines) this.say(`       ${line}`)
    return lines
  }

  /** Starts a command that goes on; lines come as it prints them. */
  follow(person: Person, ...args: string[]): { lines: AsyncIterable<string>; child: ChildProcess } {
    const child = this.#spawn(relay, ['--home', person.home, '--json', ...args])
    return { lines: createInterface({ input: child.stdout! }), child } // stdout is piped
  }

  #spawn(file: string, args: string[]): ChildProcess {
    // The viewer's own settings have no part in the play.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^RELAYD?_/.test(name)))
    const [clock, moved] = [['--import', later], { ...env, DEMO_LATER_MS: String(this.#laterMs) }]
    const words = this.#laterMs === 0 ? [file, ...args] : [...clock, file, ...args]
    const child = spawn(process.execPath, words, { stdio: ['ignore', 'pipe', 'pipe'], env: moved })
    this.#children.add(child)
    child.once('exit', () => this.#children.delete(child))
    return child
  }
}

export const short = (key: unknown): string => `${String(key).slice(0, 8)}…`

export function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(`the demo expected: ${what}`)
}

async function firstLine(child: ChildProcess): Promise<string> {
  let errors = ''
  child.stderr?.on('data', (chunk) => {
    errors += chunk
  })
  for await (const line of createInterface({ input: child.stdout! })) return line // stdout is piped
  throw new Error(`relayd ended before it was ready: ${errors}`)
}
