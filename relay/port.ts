/** The ports that a relay serves on: what an operator is told when he cannot have one. */
import { createServer } from 'node:net'
import { MarketError } from '../market/errors.ts'

export interface Port {
  /** Which option names it. */
  readonly option: string
  readonly host: string
  readonly port: number
}

/** @throws ERR_CONFLICT, with a sentence, when `listen` cannot have its port; and whatever else it throws. */
export async function listening<T>({ option, host, port }: Port, listen: () => Promise<T>): Promise<T> {
  const at = `${host.includes(':') ? `[${host}]` : host}:${port}`
  const advice = `choose another with ${option} HOST:PORT`
  const sentences: Record<string, string> = {
    EADDRINUSE: `another program listens on ${at}; ${advice}`,
    EACCES: `this user may not listen on ${at}; ${advice}`,
    EADDRNOTAVAIL: `${at} is no address of this machine; ${advice}`,
    ENOTFOUND: `there is no host ${host}; ${advice}`,
  }
  try {
    return await listen()
  } catch (cause) {
    const sentence = sentences[(cause as NodeJS.ErrnoException).code ?? '']
    if (sentence === undefined) throw cause
    throw new MarketError('ERR_CONFLICT', sentence, { cause })
  }
}

/** Whether `port` can be had at this moment, before anything is made for it. @throws as `listening` */
export function tryPort(port: Port): Promise<void> {
  return listening(
    port,
    () =>
      new Promise((resolve, reject) => {
        const server = createServer()
        server.once('error', reject)
        server.listen(port.port, port.host, () => server.close(() => resolve()))
      }),
  )
}
