// One job of the table. Vue writes all of it as text: a file's name is never read as HTML.
const ACTIONS = {
  cancel: { icon: "stop", name: "Cancel" },
  retry: { icon: "retry", name: "Retry" },
  delete: { icon: "delete", name: "Delete" },
};

export default {
  template: `
    <tr class="vj-job" role="row" :data-job="job.id" :class="{ picked }" @click="open">
      <td role="cell" class="job-cell-pick">
        <input type="checkbox" class="vj-check job-pick" :checked.prop="picked"
          :aria-label="'Select ' + job.title" @change="$emit('pick', $event.target.checked)">
      </td>
      <td role="cell" class="job-cell-thumb">
        <span class="vj-thumb">
          <img v-if="job.poster" :src="job.poster" alt="" loading="lazy" decoding="async">
          <svg v-else class="vj-icon" aria-hidden="true"><use href="#vj-film" /></svg>
        </span>
      </td>
      <td role="cell" class="job-cell-name">
        <a class="job-link" :href="job.href" :title="job.title">{{ job.title }}</a>
        <span class="vj-under" v-if="job.file && job.file !== job.title" :title="job.file">{{ job.file }}</span>
      </td>
      <td role="cell" class="job-cell-type">
        <span>{{ job.type }}</span><span class="vj-under">{{ job.pipeline }}</span>
      </td>
      <td role="cell" class="job-cell-status">
        <span class="vj-status" :class="job.status">
          <svg class="vj-icon" aria-hidden="true"><use :href="'#vj-' + job.status" /></svg>{{ job.statusName }}
        </span>
        <span class="vj-under mono" v-if="job.error" :title="job.error">{{ job.error }}</span>
      </td>
      <td role="cell" class="job-cell-progress">
        <div class="vj-progress" :class="job.status" role="progressbar" aria-valuemin="0" aria-valuemax="100"
          :aria-valuenow="job.progress" :aria-label="'Progress of ' + job.title">
          <span class="bar"><span :style="{ width: job.progress + '%' }"></span></span>
          <span class="number">{{ job.progress }}<span class="percent">%</span></span>
        </div>
        <span class="vj-under" v-if="job.stage">{{ job.stage }}</span>
      </td>
      <td role="cell" class="job-cell-attempt number"><span class="vj-label">Attempt </span>{{ job.attempt }}</td>
      <td role="cell" class="job-cell-created"><time :datetime="job.created" :title="whole">{{ created }}</time></td>
      <td role="cell" class="job-cell-took number">{{ took }}</td>
      <td role="cell" class="job-cell-actions">
        <button v-for="action in job.actions" type="button" class="vj-button quiet square" :class="action"
          :title="name(action)" :aria-label="name(action) + ' ' + job.title" @click="$emit('act', action)">
          <svg class="vj-icon" aria-hidden="true"><use :href="'#vj-' + icon(action)" /></svg>
        </button>
      </td>
    </tr>`,
  props: { job: Object, picked: Boolean },
  emits: ["pick", "act"],
  computed: {
    created() {
      return window.videojobs.relative(this.job.created);
    },
    whole() {
      return window.videojobs.whole(this.job.created);
    },
    took() {
      const { started, seconds } = this.job;
      if (started) return window.videojobs.elapsed(window.videojobs.now() - new Date(started));
      if (seconds === null) return "–";
      return seconds < 10 ? `${seconds.toFixed(1)} s` : window.videojobs.elapsed(seconds * 1000);
    },
  },
  methods: {
    name: (action) => ACTIONS[action].name,
    icon: (action) => ACTIONS[action].icon,
    open(event) {
      if (event.target.closest("a, button, input") || window.getSelection().toString()) return;
      this.$el.querySelector(".job-link").click();
    },
  },
};
