/** Sockets that listen. */
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { Push } from '../contracts/api.ts'
import type { KeyWallet } from '../contracts/wallet/key-wallet.ts'
import { sealRequest } from './messages.ts'
import type { RelayProcess } from './relay-process.ts'

export interface Listener {
  isOpen(): boolean
  close(): void
}

const liveMs = 30_000

/** Listens to an inbox; resolves once the relay has said that from now on it pushes what arrives. */
export async function listen(
  relay: RelayProcess,
  reader: KeyWallet,
  onPaths: (paths: readonly string[]) => void = () => undefined,
): Promise<Listener> {
  const socket = new WebSocket(relay.url.replace(/^http/, 'ws'), { perMessageDeflate: false })
  socket.on('error', () => socket.terminate())
  await once(socket, 'open')
  const live = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('a listen did not go live')), liveMs)
    socket.once('close', () => reject(new Error('the relay closed a socket')))
    socket.on('message', (data) => {
      const text = String(data)
      if (!text.startsWith('{"push":')) return
      const { push } = Push.parse(JSON.parse(text))
      if ('live' in push) {
        clearTimeout(timer)
        resolve()
      } else if ('records' in push) onPaths(push.records)
      else reject(new Error(push.error))
    })
  })
  const request = { type: 'listen', afterTs: Date.now() }
  socket.send((await sealRequest(request, reader, relay.key)).text)
  await live
  return { isOpen: () => socket.readyState === socket.OPEN, close: () => socket.terminate() }
}
