/** Reading in another name than one's own: as key 1, which everybody has, or by the key of a private channel (docs/protocol.md §5). */
import { KeyWallet } from '../../contracts/wallet/key-wallet.ts'
import { formatAddress } from '../../market/address.ts'
import { anyonePrivateKey } from '../../market/identity.ts'
import type { Context } from '../context.ts'
import { homeReads } from '../home/reads.ts'
import { fromKeyWallet, type Wallet } from '../wallet.ts'
import { Connection } from '../wire/connection.ts'

/** Key 1. */
export const everybody: Wallet = fromKeyWallet(new KeyWallet(anyonePrivateKey))

/** The same home and clock, and connections that speak as `wallet`. It reads and opens; nothing is paid or written so. */
export function asReader(ctx: Context, wallet: Wallet): Context {
  const reads = homeReads(ctx.home)
  const connections = new Map<string, Connection>()
  return {
    ...ctx,
    wallet,
    connect(address) {
      const name = formatAddress(address)
      const known = connections.get(name)
      if (known !== undefined) return known
      const connection = new Connection(address, wallet, { now: ctx.now, reads, dialer: ctx.dialer })
      connections.set(name, connection)
      return connection
    },
  }
}
