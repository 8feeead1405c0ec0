/** relayd as a process of its own, so that what it costs is told apart from what asking it costs. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { Key } from '../market/units.ts'
import type { Bench } from './figures.ts'

/** A program of ours that is ready. */
interface Process {
  /** From the start of the process to its ready line. */
  readonly startMs: number
  readonly startCpuMicros: number
  /** CPU time of the whole process, all threads, since it began; the kernel tells it in steps of 10 ms. */
  cpuMicros(): number
  rssBytes(): number
  /** Without a chance to say goodbye; resolves once it is gone. */
  kill(): Promise<void>
}

export interface RelayProcess extends Process {
  readonly url: string
  readonly key: Key
}

const program = fileURLToPath(new URL('../relay/main.js', import.meta.url))
const Ready = z.object({ event: z.literal('ready'), url: z.url(), key: Key })
const readyMs = 60_000
const stopMs = 15_000

const children = new Set<ChildProcess>()
const folders = new Set<string>()

// However the bench ends, nothing of it stays behind.
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
})

/** Gives `work` an empty folder that is gone afterwards. */
export async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'relay-bench-'))
  folders.add(folder)
  try {
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
    folders.delete(folder)
  }
}

/** Runs one of our programs until it ends. @returns the lines it printed */
export async function runChild(file: string, args: readonly string[]): Promise<string[]> {
  const child = spawn(process.execPath, [file, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  children.add(child)
  const exited = once(child, 'close')
  const lines: string[] = []
  for await (const line of createInterface(child.stdout)) lines.push(line)
  const [code] = await exited
  children.delete(child)
  if (code !== 0) throw new Error(`${file} ended with ${code}`)
  return lines
}

/** Starts a relay on `data` (or an empty folder), gives it to `work`, and stops it if it was not killed. */
export async function withRelay<T>(
  bench: Bench,
  options: { data?: string; limits?: readonly string[]; args?: readonly string[] },
  work: (relay: RelayProcess) => Promise<T>,
): Promise<T> {
  const { data, args: kind = ['--open'] } = options
  if (data === undefined) return withFolder((folder) => withRelay(bench, { ...options, data: folder }, work))
  const profiling = bench.profile === undefined ? [] : ['--cpu-prof', '--cpu-prof-dir', bench.profile]
  const limits = (options.limits ?? []).flatMap((limit) => ['--limit', limit])
  const args = [...profiling, program, 'start', '--data', data, '--listen', '127.0.0.1:0', ...kind]
  return withProgram([...args, '--log-level', 'error', ...limits], Ready, ({ url, key }, process) =>
    work({ url, key, ...process }),
  )
}

/** A simulated node that costs another process what it costs, with a block every second. */
export function withDevnetProcess<T>(work: (url: string) => Promise<T>): Promise<T> {
  const args = [program, 'devnet', '--listen', '127.0.0.1:0', '--block-every', '1s']
  return withProgram(args, z.object({ url: z.url() }), ({ url }) => work(url))
}

/** Runs node with `args` until `work` is done; the program's first line says that it is ready, in the form `ready`. */
export async function withProgram<R, T>(
  args: readonly string[],
  ready: z.ZodType<R>,
  work: (ready: R, process: Process) => Promise<T>,
): Promise<T> {
  const began = performance.now()
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  children.add(child)
  const exited = once(child, 'exit')
  try {
    const line = await readyLine(child, ready)
    const startMs = performance.now() - began
    const pid = child.pid! // it has said it is ready, so it was spawned
    return await work(line, {
      startMs,
      startCpuMicros: cpuMicrosOf(pid),
      cpuMicros: () => cpuMicrosOf(pid),
      rssBytes: () => rssBytesOf(pid),
      async kill() {
        child.kill('SIGKILL')
        await exited
      },
    })
  } finally {
    await stop(child, exited)
  }
}

async function stop(child: ChildProcess, exited: Promise<unknown>): Promise<void> {
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), stopMs)
  await exited
  clearTimeout(timer)
  children.delete(child)
}

async function readyLine<T>(child: ChildProcess, form: z.ZodType<T>): Promise<T> {
  const lines = createInterface(child.stdout!) // piped above
  const timer = setTimeout(() => child.kill('SIGKILL'), readyMs)
  try {
    for await (const line of lines) return form.parse(JSON.parse(line))
  } finally {
    clearTimeout(timer)
    child.stdout?.resume()
  }
  throw new Error('relayd ended before it was ready')
}

/** Linux tells times to user space in 1/100 s, whatever its own clock. */
const tickMicros = 10_000

function cpuMicrosOf(pid: number): number {
  const stat = procFile(pid, 'stat')
  if (stat === undefined) return clockMicros(ps(pid, 'cputime'))
  // The name of the program, in parentheses, may hold anything; user and system time are the 12th and 13th field after it.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * tickMicros
}

function rssBytesOf(pid: number): number {
  const status = procFile(pid, 'status')
  const kibibytes = status === undefined ? ps(pid, 'rss') : /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]
  return Number(kibibytes) * 1024
}

function procFile(pid: number, name: string): string | undefined {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'latin1')
  } catch {
    return undefined // not Linux
  }
}

const ps = (pid: number, column: string): string =>
  execFileSync('ps', ['-o', `${column}=`, '-p', String(pid)], { encoding: 'latin1' }).trim()

/** `[[days-]hours:]minutes:seconds[.hundredths]` */
function clockMicros(text: string): number {
  const [clock = '', days = '0'] = text.split('-').reverse()
  const seconds = clock.split(':').reduce((sum, part) => sum * 60 + Number(part), 0)
  return (Number(days) * 86_400 + seconds) * 1e6
}
