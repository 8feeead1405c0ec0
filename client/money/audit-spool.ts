/** The pages of a report on disk, while they are audited: there may be more than memory holds, and they are read twice. */
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { replies, type Cursor } from '../../contracts/api.ts'
import type { ReportPage } from '../../contracts/audit/books.ts'
import type { Context } from '../context.ts'
import { remove } from '../home/durable.ts'
import { pagesFile } from '../home/audits.ts'
import type { CallOptions, Connection } from '../wire/connection.ts'
import { usagePages } from './audit-pages.ts'

export interface Spool {
  /** How many pulls its pages have, and where the next report begins. */
  readonly pulls: number
  readonly cursor: Cursor
  readonly pages: () => AsyncGenerator<ReportPage>
  remove(): Promise<void>
}

/** Fetches the report of a purse from `cursor` on. */
export async function fetchPages(
  ctx: Context,
  connection: Connection,
  { purse, ...options }: CallOptions & { readonly purse: string; readonly cursor?: Cursor | undefined },
): Promise<Spool> {
  const path = pagesFile(ctx.home, connection.address.key, purse)
  const file = await open(path, 'w', 0o600)
  let pulls = 0
  let last: Cursor | undefined
  try {
    for await (const { report, text, asked, cursor } of usagePages(connection, purse, options)) {
      await file.appendFile(`${JSON.stringify([text, asked])}\n`)
      pulls += report.pulls.length
      last = cursor
    }
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
