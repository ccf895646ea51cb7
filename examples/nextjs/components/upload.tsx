import { useMutation, useQueryClient } from '@tanstack/react-query';
import type { Database } from '@videojobs/database';
import { type FormEvent, useState } from 'react';
import { processVideo } from '@/app/actions';
import type { Session } from '@/lib/session';
import { Problem } from './problem';

// The compiler holds these to the words that the database knows.
const PLATFORMS: Record<Database['public']['Enums']['video_job_platform_target'], string> = {
  tiktok: 'TikTok',
  instagram: 'Instagram',
  youtube_shorts: 'YouTube Shorts',
};
const PRESETS: Record<Database['public']['Enums']['video_job_quality_preset'], string> = {
  draft: 'Draft, fast',
  standard: 'Standard',
  pro: 'Pro, slow',
};

export function Upload({ session }: { session: Session }) {
  const queries = useQueryClient();
  // Sending the same form again, after an answer that never came, makes no second job.
  const [idempotencyKey, setIdempotencyKey] = useState(() => crypto.randomUUID());
  const renewKey = () => setIdempotencyKey(crypto.randomUUID());

  const { mutate, error, isPending } = useMutation({
    async mutationFn(element: HTMLFormElement) {
      const form = new FormData(element);
      form.set('access_token', await session.accessToken());
      form.set('idempotency_key', idempotencyKey);
      const outcome = await processVideo(form);
      if ('problem' in outcome) throw new Error(outcome.problem);
      element.reset();
      renewKey();
    },
    onSettled: () => queries.invalidateQueries({ queryKey: ['jobs'] }),
  });

  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    mutate(event.currentTarget);
  }

  return (
    <article>
      <form onSubmit={submit} onChange={renewKey}>
        <label>
          Video
          <input name="file" type="file" accept="video/*" required />
        </label>
        <div className="grid">
          <label>
            Clips
            <input name="clip_count" type="number" min={1} max={100} defaultValue={3} required />
          </label>
          <Choice label="For" name="platform_target" choices={PLATFORMS} first="tiktok" />
          <Choice label="Quality" name="quality_preset" choices={PRESETS} first="standard" />
        </div>
        <Problem>{error?.message}</Problem>
        <button type="submit" aria-busy={isPending} disabled={isPending}>
          {isPending ? 'Uploading…' : 'Cut clips'}
        </button>
      </form>
    </article>
  );
}

type ChoiceProps<Value extends string> = {
  label: string;
  name: string;
  choices: Record<Value, string>;
  first: Value;
};

function Choice<Value extends string>({ label, name, choices, first }: ChoiceProps<Value>) {
  return (
    <label>
      {label}
      <select name={name} defaultValue={first}>
        {Object.entries<string>(choices).map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
    </label>
  );
}
