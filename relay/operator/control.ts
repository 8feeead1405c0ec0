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
/** For a line to arrive, and for an answer to be taken. What an order takes to be carried out is not bounded: a backup takes as long as it takes. */
const waitMs = 5000
const deliveryMs = 30_000
const connections = 16

/** Carries out the orders of whoever can read `file` until closed, which waits for what was begun. The store's lock is held, so a file left there is nobody's. */
export async function openControl(file: string, execute: Execute): Promise<{ close(): Promise<void> }> {
  const secret = randomBytes(32).toString('hex')
  const open = new Set<Socket>()
  /** Those of them that have given no order yet, longest waiting first. */
  const strangers = new Set<Socket>()
  const running = new Set<Promise<unknown>>()
  const leave = (socket: Socket) => {
    open.delete(socket)
    strangers.delete(socket)
  }
  const server = createServer((socket) => {
    const gone = new AbortController()
    socket.on('close', () => {
      leave(socket)
      gone.abort()
    })
    socket.on('error', () => socket.destroy())
    open.add(socket)
    strangers.add(socket)
    if (open.size > connections) {
      // Whoever knows no secret must not keep the operator out: the first to have come goes for the last.
      const [first = socket] = strangers
      leave(first)
      first.destroy()
    }
    const work = answer(socket, (line) =>
      carryOut(line, secret, (order, args) => {
        strangers.delete(socket)
        return execute(order, args, gone.signal)
      }),
    ).finally(() => running.delete(work))
    running.add(work)
  })
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

/** One line each way; who sends more, or does not take the answer, is cut off. Resolves when the answer is made. Never rejects. */
async function answer(socket: Socket, respond: (line: string) => Promise<unknown>): Promise<void> {
  const arrival = setTimeout(() => socket.destroy(), waitMs)
  let text: string
  try {
    const line = await readLine(socket, orderBytes).finally(() => clearTimeout(arrival))
    // Read on, so as to see its end, and keep none of it.
    socket.on('data', () => socket.destroy())
    text = JSON.stringify({ result: await respond(line) })
  } catch (error) {
    text = JSON.stringify(refusal(error as Error)) // everything thrown here is an Error
  }
  if (socket.destroyed) return
  const delivery = setTimeout(() => socket.destroy(), deliveryMs)
  socket.once('close', () => clearTimeout(delivery))
  socket.write(`${text}\n`)
  // Not only its own half: the other one may never be closed.
  socket.destroySoon()
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

/** The first line; nothing more is read then until somebody else does. */
function readLine(socket: Socket, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    socket.setEncoding('utf8')
    socket.on('error', reject)
    socket.on('close', () => reject(new MarketError('ERR_BUSY', 'closed before a line was complete')))
    socket.on('data', function take(chunk: string) {
      const end = chunk.indexOf('\n')
      text += end === -1 ? chunk : chunk.slice(0, end)
      if (text.length > maxBytes) {
        socket.destroy(new MarketError('ERR_TOO_LARGE', 'the line is too long'))
      } else if (end !== -1) {
        socket.off('data', take)
        if (end < chunk.length - 1)
          socket.destroy(new MarketError('ERR_MALFORMED', 'more than one line came'))
        else resolve(text)
      }
    })
  })
}
