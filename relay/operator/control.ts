/**
 * How `relayd` commands reach a running relay: one JSON line each way over a loopback port, named together with a secret
 * in a file that only the operator can read. (A Unix socket would bound the length of the data directory's path.)
 */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { z } from 'zod'
import { isCode, MarketError } from '../../market/errors.ts'

/** Carries out an order; `signal` is aborted when the one who gave it is gone. What it resolves with is JSON. */
export type Execute = (order: string, args: unknown, signal: AbortSignal) => Promise<unknown>

const ControlFile = z.strictObject({ port: z.int().min(1).max(65_535), secret: z.string().length(64) })
const Line = z.strictObject({ secret: z.string().length(64), order: z.string().max(64), args: z.unknown() })
const Answer = z.looseObject({
  error: z.string().optional(),
  code: z.string().optional(),
  extras: z.record(z.string(), z.unknown()).optional(),
})

const orderBytes = 64 * 1024
const answerBytes = 8 * 1024 * 1024
/** For a line to arrive. What an order takes to be carried out is not bounded: a backup takes as long as it takes. */
const waitMs = 5000
const connections = 16

/** Carries out the orders of whoever can read `file` until closed, which waits for what was begun. The store's lock is held, so a file left there is nobody's. */
export async function openControl(file: string, execute: Execute): Promise<{ close(): Promise<void> }> {
  const secret = randomBytes(32).toString('hex')
  const open = new Set<Socket>()
  const running = new Set<Promise<unknown>>()
  const server = createServer((socket) => {
    const gone = new AbortController()
    open.add(socket)
    socket.on('close', () => {
      open.delete(socket)
      gone.abort()
    })
    socket.on('error', () => socket.destroy())
    socket.setTimeout(waitMs, () => socket.destroy())
    const work = readLine(socket, orderBytes)
      .then((line) => {
        socket.setTimeout(0)
        return carryOut(line, secret, (order, args) => execute(order, args, gone.signal))
      })
      .then((result) => socket.end(`${JSON.stringify({ result })}\n`))
      .catch((error: Error) => socket.end(`${JSON.stringify(refusal(error))}\n`))
      .finally(() => running.delete(work))
    running.add(work)
  })
  server.maxConnections = connections
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo // it listens on TCP
  await rm(file, { force: true })
  await writeFile(file, JSON.stringify({ port, secret }), { mode: 0o600, flag: 'wx' })
  return {
    async close() {
      // First of all nobody new: who came later would be neither cut off nor waited for.
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const socket of open) socket.destroy()
      await Promise.all(running)
      await closed
      await rm(file, { force: true })
    },
  }
}

/**
 * Has the relay that wrote `file` carry out an order, until `signal` is aborted.
 * @throws ERR_NOT_FOUND when none is running there, else what the relay says
 */
export async function control(
  file: string,
  order: string,
  args: unknown = {},
  signal?: AbortSignal,
): Promise<unknown> {
  const { secret, socket } = await reachRelay(file)
  // The relay learns of it by the end of the connection.
  const abort = () => socket.destroy(interrupted())
  try {
    // It may have come while the relay was being reached, when nobody listened for it yet.
    if (signal?.aborted) throw interrupted()
    signal?.addEventListener('abort', abort)
    socket.write(`${JSON.stringify({ secret, order, args })}\n`)
    const line = await readLine(socket, answerBytes)
    const { error, code, extras = {}, result } = Answer.parse(JSON.parse(line))
    if (error !== undefined) throw new MarketError(isCode(code) ? code : 'ERR_INTERNAL', error, { extras })
    return result
  } finally {
    signal?.removeEventListener('abort', abort)
    socket.destroy()
  }
}

export const interrupted = (): MarketError => new MarketError('ERR_BUSY', 'interrupted')

export const notRunning = (cause?: unknown): MarketError =>
  new MarketError('ERR_NOT_FOUND', 'no relay is running on this data directory', {
    extras: { reason: 'not running' },
    cause,
  })

async function reachRelay(file: string): Promise<{ secret: string; socket: Socket }> {
  try {
    const { port, secret } = ControlFile.parse(JSON.parse(await readFile(file, 'utf8')))
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect', { signal: AbortSignal.timeout(waitMs) })
    return { secret, socket }
  } catch (cause) {
    throw notRunning(cause)
  }
}

async function carryOut(
  line: string,
  secret: string,
  execute: (order: string, args: unknown) => Promise<unknown>,
): Promise<unknown> {
  const { order, args, ...given } = Line.parse(JSON.parse(line))
  if (!timingSafeEqual(Buffer.from(given.secret), Buffer.from(secret)))
    throw new MarketError('ERR_FORBIDDEN', 'wrong secret')
  return execute(order, args)
}

const refusal = (error: Error) =>
  error instanceof MarketError
    ? { error: error.message, code: error.code, extras: error.extras }
    : { error: error.message, code: 'ERR_INTERNAL' }

function readLine(socket: Socket, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    socket.setEncoding('utf8')
    socket.on('error', reject)
    socket.on('close', () => reject(new MarketError('ERR_BUSY', 'closed before a line was complete')))
    socket.on('data', (chunk: string) => {
      text += chunk
      const end = text.indexOf('\n')
      if (end !== -1) resolve(text.slice(0, end))
      else if (text.length > maxBytes)
        socket.destroy(new MarketError('ERR_TOO_LARGE', 'the line is too long'))
    })
  })
}
