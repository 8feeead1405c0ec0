/** An audit as its user sees it: everything that can be known is fetched first, then the relays are held to it. */
import type { Context } from './context.ts'
import { flushAll } from './finish.ts'
import { noteForged } from './home/market.ts'
import { pull } from './mail/pull.ts'
import { ackTag } from './mail/tags.ts'
import { type AuditedAt, type AuditOptions, auditRelays } from './money/audit.ts'

export type { AuditedAt, AuditOptions, PurseAudit } from './money/audit.ts'

/** Brings up what waits, so that lost receipts come again; pulls the acks, and nothing else; audits. A forged bill is remembered. */
export async function auditAll(
  ctx: Context,
  reference: string | undefined,
  options: AuditOptions,
): Promise<AuditedAt[]> {
  const call = { signal: options.signal, attempts: 1 }
  const flushed = await flushAll(ctx, call)
  const pulled = await pull(ctx, { ...call, tag: ackTag })
  for (const failure of [...flushed.failures, ...pulled.failures])
    ctx.notify({ type: 'relay-failed', ...failure })
  const all = await auditRelays(ctx, reference, options)
  for (const at of all)
    if (!('error' in at) && at.purses.some(({ verdict }) => verdict === 'forged'))
      await noteForged(ctx.home, at.relay.key, ctx.now())
  return all
}
