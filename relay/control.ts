/**
 * How `relayd` commands reach a running relay: one JSON line each way over a loopback port, named together with a secret
 * in a file that only the operator can read. (A Unix socket would bound the length of the data directory's path.)
 */
import { randomBytes, timingSafeEqual } from 'node:crypto'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { z } from 'zod'
import { MarketError } from '../market/errors.ts'

type Commands = { readonly [name: string]: () => unknown }

const ControlFile = z.strictObject({ port: z.int().min(1).max(65_535), secret: z.string().length(64) })
const Order = z.strictObject({ secret: z.string().length(64), command: z.string().max(64) })

const orderBytes = 4096
const answerBytes = 1024 * 1024
const waitMs = 5000
const connections = 16

/** Serves `commands` to whoever can read `file` until closed. The store's lock is held, so a file left there is nobody's. */
export async function openControl(file: string, commands: Commands): Promise<{ close(): Promise<void> }> {
  const secret = randomBytes(32).toString('hex')
  const open = new Set<Socket>()
  const server = createServer((socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
    socket.on('error', () => socket.destroy())
    socket.setTimeout(waitMs, () => socket.destroy())
    readLine(socket, orderBytes)
      .then((line) => obey(line, secret, commands))
      .then((result) => socket.end(`${JSON.stringify({ result })}\n`))
      .catch((error: Error) => socket.end(`${JSON.stringify({ error: error.message })}\n`))
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
      for (const socket of open) socket.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
      await rm(file, { force: true })
    },
  }
}

/** Has the relay that wrote `file` carry out a command. @throws ERR_NOT_FOUND when none is running there. */
export async function control(file: string, command: string): Promise<unknown> {
  let line: string
  try {
    const { port, secret } = ControlFile.parse(JSON.parse(await readFile(file, 'utf8')))
    const socket = connect(port, '127.0.0.1')
    socket.setTimeout(waitMs, () => socket.destroy(new Error('the relay did not answer in time')))
    socket.write(`${JSON.stringify({ secret, command })}\n`)
    line = await readLine(socket, answerBytes).finally(() => socket.destroy())
  } catch (cause) {
    throw new MarketError('ERR_NOT_FOUND', 'no relay is running on this data directory', { cause })
  }
  const answer = z.looseObject({ error: z.string().optional() }).parse(JSON.parse(line))
  if (answer.error !== undefined) throw new MarketError('ERR_INTERNAL', answer.error)
  return answer.result
}

async function obey(line: string, secret: string, commands: Commands): Promise<unknown> {
  const order = Order.parse(JSON.parse(line))
  if (!timingSafeEqual(Buffer.from(order.secret), Buffer.from(secret))) throw new Error('wrong secret')
  const command = Object.hasOwn(commands, order.command) ? commands[order.command] : undefined
  if (command === undefined) throw new Error(`there is no command ${order.command}`)
  return (await command()) ?? true
}

function readLine(socket: Socket, maxBytes: number): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    socket.setEncoding('utf8')
    socket.on('error', reject)
    socket.on('close', () => reject(new Error('closed before a line was complete')))
    socket.on('data', (chunk: string) => {
      text += chunk
      const end = text.indexOf('\n')
      if (end !== -1) resolve(text.slice(0, end))
      else if (text.length > maxBytes) socket.destroy(new Error('the line is too long'))
    })
  })
}
