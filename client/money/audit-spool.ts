/** The pages of a report on disk, while they are audited: there may be more than memory holds, and they are read twice. */
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { replies, type Cursor } from '../../contracts/api.ts'
import type { ReportPage } from '../../contracts/audit/books.ts'
import type { Context } from '../context.ts'
import { remove } from '../home/durable.ts'
import { pagesFile } from '../home/audits.ts'
import { ClientError } from '../errors.ts'
import type { Connection } from '../wire/connection.ts'
import { type PageOptions, usagePages } from './audit-pages.ts'

/** Of one report on our disk: some ten million pulls with their reads. */
const mostBytes = 8 * 2 ** 30

export interface Spool {
  /** How many pulls its pages have, and where the next report begins. */
  readonly pulls: number
  readonly cursor: Cursor
  readonly pages: () => AsyncGenerator<ReportPage>
  remove(): Promise<void>
}

/** Fetches the report of a purse from `cursor` on. @throws ERR_UNTRUSTED where it is larger than `most` bytes, and as `usagePages` */
export async function fetchPages(
  ctx: Context,
  connection: Connection,
  { purse, most = mostBytes, ...options }: PageOptions & { readonly purse: string; readonly most?: number },
): Promise<Spool> {
  const path = pagesFile(ctx.home, connection.address.key, purse)
  const file = await open(path, 'w', 0o600)
  let pulls = 0
  let bytes = 0
  let last: Cursor | undefined
  try {
    for await (const { report, text, asked, cursor } of usagePages(connection, purse, options)) {
      const line = `${JSON.stringify([text, asked])}\n`
      bytes += Buffer.byteLength(line)
      if (bytes > most)
        throw new ClientError(
          'ERR_UNTRUSTED',
          `the report of ${connection.address.url} is larger than ${most} bytes`,
        )
      await file.appendFile(line)
      pulls += report.pulls.length
      last = cursor
    }
  } catch (error) {
    await remove(path)
    throw error
  } finally {
    await file.close()
  }
  return {
    pulls,
    cursor: last!, // there is a last page, or it threw
    pages: () => pagesIn(path),
    remove: () => remove(path),
  }
}

async function* pagesIn(path: string): AsyncGenerator<ReportPage> {
  for await (const line of createInterface({
    input: createReadStream(path),
    crlfDelay: Number.POSITIVE_INFINITY,
  })) {
    const [text, asked] = JSON.parse(line) as [string, string] // as it was written above
    // The signed text was checked when it came; its fields are parsed as then.
    const { result: report, more } = replies.RequestUsage.parse(JSON.parse(text).msg.request)
    yield { report, more, text, asked }
  }
}
