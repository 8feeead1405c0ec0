/** What queries of lookup services are made of. */
import { z } from 'zod'
import { Key } from '../../market/units.ts'
import { tokenLimits } from './token-index.ts'

/** Hex of either case. */
export const KeyText = z.string().toLowerCase().pipe(Key)

export const Paging = {
  limit: z.int().min(1).max(tokenLimits.page).optional(),
  skip: z.int().min(0).optional(),
}
