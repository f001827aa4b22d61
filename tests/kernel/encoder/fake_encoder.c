// SPDX-License-Identifier: MIT OR GPL-2.0
/*
 * fake_encoder: a stateful H.264 encoder on the kernel's mem-to-mem framework, for tests without the hardware. It has the
 * shape of the Raspberry Pi's bcm2835-codec (multi-planar; YU12, NV12 and YUYV in, lines of n times 64 bytes (NV12: 32); H264 out; the
 * same controls), and what it writes is real H.264 of the real input: key frames are macroblocks of raw samples (I_PCM),
 * all others skip what has not changed and write the rest as raw samples, as many as the bitrate pays for. Any decoder
 * shows it.
 *
 * Faults, by /sys/module/fake_encoder/parameters: errors=N (the next N pictures are marked as errors), delay_ms, stall=1
 * (takes pictures and gives nothing), misdated=1 (the first buffer after the start is of another time stamp, as the Pi's can
 * be), noise=N (the next N pictures are no H.264), deaf=1 (makes no key frame when asked), deaf=2 (refuses to be asked). It counts
 * the key frames that were asked for in `forced`, and the pictures that are not later than the one before in `undated`.
 * `picture_bits` is what the bitrate and the rate leave for each picture.
 */
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/vmalloc.h>
#include <linux/delay.h>
#include <media/v4l2-mem2mem.h>
#include <media/v4l2-device.h>
#include <media/v4l2-ioctl.h>
#include <media/v4l2-ctrls.h>
#include <media/v4l2-event.h>
#include <media/videobuf2-vmalloc.h>

static int errors, delay_ms, stall, misdated, noise, deaf, forced, undated, picture_bits;
module_param(errors, int, 0644);
module_param(delay_ms, int, 0644);
module_param(stall, int, 0644);
module_param(misdated, int, 0644);
module_param(deaf, int, 0644);
module_param(forced, int, 0444);
module_param(undated, int, 0444);
module_param(picture_bits, int, 0444);
module_param(noise, int, 0644);

#define MAX_W 1920
#define MAX_H 1920
#define OUT_SIZE(w, h) ((w) * (h) * 3 / 2 + (w) * (h) / 64 + 4096)

struct enc {
	struct v4l2_device v4l2;
	struct video_device vdev;
	struct v4l2_m2m_dev *m2m;
	struct mutex lock;
};

struct ctx {
	struct v4l2_fh fh;
	struct enc *enc;
	struct v4l2_ctrl_handler ctrls;
	struct v4l2_ctrl *bitrate, *period, *repeat;
	struct work_struct work;
	u32 fourcc, w, h, fps, out_size, sequence, in_sequence, number, frame_num, next_mb, idr;
	u64 last_time;
	bool force, started;
	u8 *last;	/* what the decoder has now, macroblock after macroblock */
	u8 *raw;	/* the slice before emulation prevention */
	u32 bits;
};

static struct enc *the;
#define to_ctx(f) container_of((f)->private_data, struct ctx, fh)
static struct ctx *file_ctx(struct file *file) { return container_of(file->private_data, struct ctx, fh); }

/* ---- H.264 ---- */
static void put(struct ctx *c, u32 value, int n)
{
	while (n--) {
		u32 at = c->bits++;

		if (!(at & 7))
			c->raw[at >> 3] = 0;
		if (value >> n & 1)
			c->raw[at >> 3] |= 0x80 >> (at & 7);
	}
}

static void ue(struct ctx *c, u32 value)
{
	int n = fls(value + 1);

	put(c, 0, n - 1);
	put(c, value + 1, n);
}

/* The raw bits with trailing bit to a NAL in Annex B. */
static u32 nal(struct ctx *c, u8 *to, u8 head)
{
	u32 n = 0, zeros = 0, i, len;

	put(c, 1, 1);
	while (c->bits & 7)
		put(c, 0, 1);
	len = c->bits >> 3;
	to[n++] = 0; to[n++] = 0; to[n++] = 0; to[n++] = 1; to[n++] = head;
	for (i = 0; i < len; i++) {
		if (zeros >= 2 && c->raw[i] <= 3) {
			to[n++] = 3;
			zeros = 0;
		}
		zeros = c->raw[i] ? 0 : zeros + 1;
		to[n++] = c->raw[i];
	}
	c->bits = 0;
	return n;
}

static u32 headers(struct ctx *c, u8 *to)
{
	u32 mw = DIV_ROUND_UP(c->w, 16), mh = DIV_ROUND_UP(c->h, 16), n;

	c->bits = 0;
	put(c, 66, 8); put(c, 0xc0, 8); put(c, 40, 8);
	ue(c, 0); ue(c, 4); ue(c, 2); ue(c, 1); put(c, 0, 1);
	ue(c, mw - 1); ue(c, mh - 1); put(c, 3, 2);
	put(c, 1, 1); ue(c, 0); ue(c, (mw * 16 - c->w) / 2); ue(c, 0); ue(c, (mh * 16 - c->h) / 2);
	put(c, 0, 1);
	n = nal(c, to, 0x67);
	ue(c, 0); ue(c, 0); put(c, 0, 2); ue(c, 0); ue(c, 0); ue(c, 0); put(c, 0, 3);
	ue(c, 0); ue(c, 0); ue(c, 0); put(c, 4, 3);
	return n + nal(c, to + n, 0x68);
}

static u32 stride_of(u32 fourcc, u32 w) { return ALIGN(fourcc == V4L2_PIX_FMT_YUYV ? w * 2 : w, fourcc == V4L2_PIX_FMT_NV12 ? 32 : 64); }
static u32 image_of(u32 fourcc, u32 w, u32 h) { return stride_of(fourcc, w) * h * (fourcc == V4L2_PIX_FMT_YUYV ? 2 : 3) / 2; }

/* One plane of a macroblock: w by h samples, `step` bytes apart; what is outside of the picture repeats the edge. */
static void plane(u8 *to, const u8 *from, u32 stride, u32 step, u32 w, u32 h, u32 x, u32 y, u32 size)
{
	u32 r, i;

	for (r = 0; r < size; r++) {
		const u8 *line = from + min(y + r, h - 1) * stride;

		for (i = 0; i < size; i++)
			*to++ = max_t(u8, line[min(x + i, w - 1) * step], 1);
	}
}

static void macroblock(struct ctx *c, const u8 *in, u32 x, u32 y, u8 *mb)
{
	u32 s = stride_of(c->fourcc, c->w), w = c->w / 2, h = c->h / 2;
	const u8 *chroma = in + s * c->h;

	x *= 16;
	y *= 16;
	if (c->fourcc == V4L2_PIX_FMT_YUYV) {
		plane(mb, in, s, 2, c->w, c->h, x, y, 16);
		plane(mb + 256, in + 1, s * 2, 4, w, h, x / 2, y / 2, 8);
		plane(mb + 320, in + 3, s * 2, 4, w, h, x / 2, y / 2, 8);
		return;
	}
	plane(mb, in, s, 1, c->w, c->h, x, y, 16);
	if (c->fourcc == V4L2_PIX_FMT_NV12) {
		plane(mb + 256, chroma, s, 2, w, h, x / 2, y / 2, 8);
		plane(mb + 320, chroma + 1, s, 2, w, h, x / 2, y / 2, 8);
	} else {
		plane(mb + 256, chroma, s / 2, 1, w, h, x / 2, y / 2, 8);
		plane(mb + 320, chroma + s * c->h / 4, s / 2, 1, w, h, x / 2, y / 2, 8);
	}
}

static u32 encode(struct ctx *c, const u8 *in, u8 *to, bool key)
{
	u32 mw = DIV_ROUND_UP(c->w, 16), mh = DIV_ROUND_UP(c->h, 16), total = mw * mh, i, n = 0, skipped = 0;
	u32 budget = key ? total : c->bitrate->val / 8 / max(c->fps, 1u) / 400, first = key ? 0 : c->next_mb;
	u8 mb[384];

	if (key && (c->repeat->val || !c->started))
		n = headers(c, to);
	c->bits = 0;
	c->frame_num = key ? 0 : (c->frame_num + 1) & 255;
	ue(c, 0); ue(c, key ? 7 : 5); ue(c, 0); put(c, c->frame_num, 8);
	if (key) {
		ue(c, c->idr++ & 1); put(c, 0, 2);
	} else {
		put(c, 0, 3);
	}
	ue(c, 0);	/* slice_qp_delta */
	ue(c, 1);	/* no deblocking */
	for (i = 0; i < total; i++) {
		u32 x = i % mw, y = i / mw;
		u8 *last = c->last + i * 384;
		bool pays = key || (budget && (i >= first || first == 0));

		if (pays)
			macroblock(c, in, x, y, mb);
		if (!key && (!pays || !memcmp(mb, last, 384))) {
			skipped++;
			continue;
		}
		if (!key) {
			budget--;
			ue(c, skipped);
			skipped = 0;
			c->next_mb = (i + 1) % total;
		}
		ue(c, key ? 25 : 30);
		while (c->bits & 7)
			put(c, 0, 1);
		memcpy(c->raw + (c->bits >> 3), mb, 384);
		c->bits += 384 * 8;
		memcpy(last, mb, 384);
	}
	if (!key) {
		if (skipped)
			ue(c, skipped);
		if (budget)
			c->next_mb = 0;
	}
	return n + nal(c, to + n, key ? 0x65 : 0x41);
}

/* ---- jobs ---- */
static void work(struct work_struct *w)
{
	struct ctx *c = container_of(w, struct ctx, work);
	struct vb2_v4l2_buffer *in = v4l2_m2m_src_buf_remove(c->fh.m2m_ctx), *out = v4l2_m2m_dst_buf_remove(c->fh.m2m_ctx);
	enum vb2_buffer_state state = VB2_BUF_STATE_DONE;
	bool key;
	u32 size;

	if (delay_ms)
		msleep(delay_ms);
	if (c->started && in->vb2_buf.timestamp <= c->last_time)
		undated++;
	c->last_time = in->vb2_buf.timestamp;
	key = c->force || !c->started || (c->period->val > 0 && c->number % c->period->val == 0);
	if (c->force)
		forced++;
	if (key)
		c->number = 0;
	c->number++;
	c->force = false;
	if (vb2_plane_size(&out->vb2_buf, 0) < OUT_SIZE(ALIGN(c->w, 16), ALIGN(c->h, 16)) || errors > 0) {
		if (errors > 0)
			errors--;
		state = VB2_BUF_STATE_ERROR;
		vb2_set_plane_payload(&out->vb2_buf, 0, 0);
	} else {
		picture_bits = c->bitrate->val / max(c->fps, 1u);
		size = encode(c, vb2_plane_vaddr(&in->vb2_buf, 0), vb2_plane_vaddr(&out->vb2_buf, 0), key);
		if (noise > 0) {
			noise--;
			memset(vb2_plane_vaddr(&out->vb2_buf, 0), 0xa5, size);
		}
		vb2_set_plane_payload(&out->vb2_buf, 0, size);
	}
	v4l2_m2m_buf_copy_metadata(in, out, true);
	if (misdated && !c->started)
		out->vb2_buf.timestamp ^= 0xfffff;
	c->started = true;
	out->flags &= ~(V4L2_BUF_FLAG_KEYFRAME | V4L2_BUF_FLAG_PFRAME);
	out->flags |= key ? V4L2_BUF_FLAG_KEYFRAME : V4L2_BUF_FLAG_PFRAME;
	out->sequence = c->sequence++;
	in->sequence = c->in_sequence++;
	out->field = V4L2_FIELD_NONE;
	if (v4l2_m2m_is_last_draining_src_buf(c->fh.m2m_ctx, in)) {
		static const struct v4l2_event eos = { .type = V4L2_EVENT_EOS };

		v4l2_m2m_last_buffer_done(c->fh.m2m_ctx, out);
		v4l2_event_queue_fh(&c->fh, &eos);
	} else {
		v4l2_m2m_buf_done(out, state);
	}
	v4l2_m2m_buf_done(in, VB2_BUF_STATE_DONE);
	v4l2_m2m_job_finish(c->enc->m2m, c->fh.m2m_ctx);
}

static void device_run(void *priv) { schedule_work(&((struct ctx *)priv)->work); }
static int job_ready(void *priv) { return !stall; }
static void job_abort(void *priv) { }
static const struct v4l2_m2m_ops m2m_ops = { .device_run = device_run, .job_ready = job_ready, .job_abort = job_abort };

/* ---- queues ---- */
static u32 size_of(struct ctx *c, u32 type)
{
	return V4L2_TYPE_IS_OUTPUT(type) ? image_of(c->fourcc, c->w, c->h) : c->out_size;
}

static int queue_setup(struct vb2_queue *q, unsigned int *n, unsigned int *planes, unsigned int sizes[], struct device *d[])
{
	struct ctx *c = vb2_get_drv_priv(q);

	if (*planes)
		return sizes[0] < size_of(c, q->type) ? -EINVAL : 0;
	*planes = 1;
	sizes[0] = size_of(c, q->type);
	return 0;
}

static int buf_prepare(struct vb2_buffer *vb)
{
	struct ctx *c = vb2_get_drv_priv(vb->vb2_queue);
	u32 size = size_of(c, vb->vb2_queue->type);

	if (vb2_plane_size(vb, 0) < size)
		return -EINVAL;
	if (V4L2_TYPE_IS_OUTPUT(vb->vb2_queue->type))
		return vb2_get_plane_payload(vb, 0) < size ? -EINVAL : 0;
	vb2_set_plane_payload(vb, 0, 0);
	return 0;
}

static int out_validate(struct vb2_buffer *vb)
{
	to_vb2_v4l2_buffer(vb)->field = V4L2_FIELD_NONE;
	return 0;
}

static void buf_queue(struct vb2_buffer *vb)
{
	struct ctx *c = vb2_get_drv_priv(vb->vb2_queue);

	v4l2_m2m_buf_queue(c->fh.m2m_ctx, to_vb2_v4l2_buffer(vb));
}

static int start(struct vb2_queue *q, unsigned int count)
{
	struct ctx *c = vb2_get_drv_priv(q);

	v4l2_m2m_update_start_streaming_state(c->fh.m2m_ctx, q);
	if (V4L2_TYPE_IS_OUTPUT(q->type)) {
		c->last = vzalloc(ALIGN(c->w, 16) * ALIGN(c->h, 16) * 3 / 2);
		c->raw = vzalloc(OUT_SIZE(ALIGN(c->w, 16), ALIGN(c->h, 16)) + 4096);
		c->started = false;
		c->in_sequence = c->number = 0;
	} else {
		c->sequence = 0;
	}
	return 0;
}

static void stop(struct vb2_queue *q)
{
	struct ctx *c = vb2_get_drv_priv(q);
	struct vb2_v4l2_buffer *b;

	flush_work(&c->work);
	v4l2_m2m_update_stop_streaming_state(c->fh.m2m_ctx, q);
	for (;;) {
		b = V4L2_TYPE_IS_OUTPUT(q->type) ? v4l2_m2m_src_buf_remove(c->fh.m2m_ctx) : v4l2_m2m_dst_buf_remove(c->fh.m2m_ctx);
		if (!b)
			break;
		v4l2_m2m_buf_done(b, VB2_BUF_STATE_ERROR);
	}
	if (V4L2_TYPE_IS_OUTPUT(q->type)) {
		vfree(c->last);
		vfree(c->raw);
		c->last = c->raw = NULL;
	}
}

static const struct vb2_ops vb_ops = {
	.queue_setup = queue_setup, .buf_prepare = buf_prepare, .buf_out_validate = out_validate, .buf_queue = buf_queue,
	.start_streaming = start, .stop_streaming = stop, .wait_prepare = vb2_ops_wait_prepare, .wait_finish = vb2_ops_wait_finish,
};

static int queue_init(void *priv, struct vb2_queue *src, struct vb2_queue *dst)
{
	struct ctx *c = priv;
	int i, ret = 0;

	for (i = 0; i < 2 && !ret; i++) {
		struct vb2_queue *q = i ? dst : src;

		q->type = i ? V4L2_BUF_TYPE_VIDEO_CAPTURE_MPLANE : V4L2_BUF_TYPE_VIDEO_OUTPUT_MPLANE;
		q->io_modes = VB2_MMAP | VB2_DMABUF;
		q->drv_priv = c;
		q->buf_struct_size = sizeof(struct v4l2_m2m_buffer);
		q->ops = &vb_ops;
		q->mem_ops = &vb2_vmalloc_memops;
		q->timestamp_flags = V4L2_BUF_FLAG_TIMESTAMP_COPY;
		q->lock = &c->enc->lock;
		ret = vb2_queue_init(q);
	}
	return ret;
}

/* ---- ioctls ---- */
static int querycap(struct file *file, void *priv, struct v4l2_capability *cap)
{
	strscpy(cap->driver, "fake_encoder", sizeof(cap->driver));
	strscpy(cap->card, "fake_encoder", sizeof(cap->card));
	strscpy(cap->bus_info, "platform:fake_encoder", sizeof(cap->bus_info));
	return 0;
}

static const u32 inputs[] = { V4L2_PIX_FMT_YUV420, V4L2_PIX_FMT_NV12, V4L2_PIX_FMT_YUYV };

static int enum_fmt(struct file *file, void *priv, struct v4l2_fmtdesc *f)
{
	if (f->index >= (V4L2_TYPE_IS_OUTPUT(f->type) ? ARRAY_SIZE(inputs) : 1))
		return -EINVAL;
	f->pixelformat = V4L2_TYPE_IS_OUTPUT(f->type) ? inputs[f->index] : V4L2_PIX_FMT_H264;
	return 0;
}

static void fill(struct v4l2_format *f)
{
	struct v4l2_pix_format_mplane *p = &f->fmt.pix_mp;
	bool out = V4L2_TYPE_IS_OUTPUT(f->type);

	if (!out)
		p->pixelformat = V4L2_PIX_FMT_H264;
	else if (p->pixelformat != V4L2_PIX_FMT_YUYV && p->pixelformat != V4L2_PIX_FMT_NV12)
		p->pixelformat = V4L2_PIX_FMT_YUV420;
	p->num_planes = 1;
	p->field = V4L2_FIELD_NONE;
	p->colorspace = V4L2_COLORSPACE_REC709;
	p->plane_fmt[0].bytesperline = out ? stride_of(p->pixelformat, p->width) : 0;
	p->plane_fmt[0].sizeimage = out ? image_of(p->pixelformat, p->width, p->height) :
		max_t(u32, p->plane_fmt[0].sizeimage, OUT_SIZE(ALIGN(p->width, 16), ALIGN(p->height, 16)));
}

static int enum_sizes(struct file *file, void *priv, struct v4l2_frmsizeenum *f)
{
	if (f->index || (f->pixel_format != V4L2_PIX_FMT_H264 && f->pixel_format != inputs[0] && f->pixel_format != inputs[1] && f->pixel_format != inputs[2]))
		return -EINVAL;
	f->type = V4L2_FRMSIZE_TYPE_STEPWISE;
	f->stepwise = (struct v4l2_frmsize_stepwise){ 32, MAX_W, 2, 32, MAX_H, 2 };
	return 0;
}

static int g_fmt(struct file *file, void *priv, struct v4l2_format *f)
{
	struct ctx *c = file_ctx(file);

	f->fmt.pix_mp.width = c->w;
	f->fmt.pix_mp.height = c->h;
	f->fmt.pix_mp.pixelformat = c->fourcc;
	fill(f);
	return 0;
}

static int try_fmt(struct file *file, void *priv, struct v4l2_format *f)
{
	f->fmt.pix_mp.width = ALIGN(clamp(f->fmt.pix_mp.width, 32u, (u32)MAX_W), 2);
	f->fmt.pix_mp.height = ALIGN(clamp(f->fmt.pix_mp.height, 32u, (u32)MAX_H), 2);
	fill(f);
	return 0;
}

static int s_fmt(struct file *file, void *priv, struct v4l2_format *f)
{
	struct ctx *c = file_ctx(file);

	if (vb2_is_busy(v4l2_m2m_get_vq(c->fh.m2m_ctx, f->type)))
		return -EBUSY;
	try_fmt(file, priv, f);
	if (V4L2_TYPE_IS_OUTPUT(f->type)) {
		c->w = f->fmt.pix_mp.width;
		c->h = f->fmt.pix_mp.height;
		c->fourcc = f->fmt.pix_mp.pixelformat;
		c->out_size = OUT_SIZE(ALIGN(c->w, 16), ALIGN(c->h, 16));
	} else {
		/* The size of what is encoded is the input's. */
		f->fmt.pix_mp.width = c->w;
		f->fmt.pix_mp.height = c->h;
		fill(f);
		c->out_size = f->fmt.pix_mp.plane_fmt[0].sizeimage;
	}
	return 0;
}

static int parm(struct file *file, void *priv, struct v4l2_streamparm *p)
{
	struct ctx *c = file_ctx(file);
	struct v4l2_fract *f = &p->parm.output.timeperframe;

	if (!V4L2_TYPE_IS_OUTPUT(p->type))
		return -EINVAL;
	p->parm.output.capability = V4L2_CAP_TIMEPERFRAME;
	if (f->numerator && f->denominator)
		c->fps = max(f->denominator / f->numerator, 1u);
	f->numerator = 1;
	f->denominator = c->fps;
	return 0;
}

static int subscribe(struct v4l2_fh *fh, const struct v4l2_event_subscription *s)
{
	return s->type == V4L2_EVENT_EOS ? v4l2_event_subscribe(fh, s, 2, NULL) : v4l2_ctrl_subscribe_event(fh, s);
}

static const struct v4l2_ioctl_ops ioctls = {
	.vidioc_querycap = querycap,
	.vidioc_enum_fmt_vid_cap = enum_fmt, .vidioc_enum_fmt_vid_out = enum_fmt,
	.vidioc_enum_framesizes = enum_sizes,
	.vidioc_g_fmt_vid_cap_mplane = g_fmt, .vidioc_g_fmt_vid_out_mplane = g_fmt,
	.vidioc_try_fmt_vid_cap_mplane = try_fmt, .vidioc_try_fmt_vid_out_mplane = try_fmt,
	.vidioc_s_fmt_vid_cap_mplane = s_fmt, .vidioc_s_fmt_vid_out_mplane = s_fmt,
	.vidioc_g_parm = parm, .vidioc_s_parm = parm,
	.vidioc_reqbufs = v4l2_m2m_ioctl_reqbufs, .vidioc_querybuf = v4l2_m2m_ioctl_querybuf, .vidioc_qbuf = v4l2_m2m_ioctl_qbuf,
	.vidioc_dqbuf = v4l2_m2m_ioctl_dqbuf, .vidioc_prepare_buf = v4l2_m2m_ioctl_prepare_buf,
	.vidioc_create_bufs = v4l2_m2m_ioctl_create_bufs, .vidioc_expbuf = v4l2_m2m_ioctl_expbuf,
	.vidioc_streamon = v4l2_m2m_ioctl_streamon, .vidioc_streamoff = v4l2_m2m_ioctl_streamoff,
	.vidioc_encoder_cmd = v4l2_m2m_ioctl_encoder_cmd, .vidioc_try_encoder_cmd = v4l2_m2m_ioctl_try_encoder_cmd,
	.vidioc_subscribe_event = subscribe, .vidioc_unsubscribe_event = v4l2_event_unsubscribe,
};

static int s_ctrl(struct v4l2_ctrl *ctrl)
{
	if (ctrl->id != V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME)
		return 0;
	if (deaf == 2)
		return -EINVAL;
	container_of(ctrl->handler, struct ctx, ctrls)->force = !deaf;
	return 0;
}

static const struct v4l2_ctrl_ops ctrl_ops = { .s_ctrl = s_ctrl };

static int enc_open(struct file *file)
{
	struct ctx *c = kzalloc(sizeof(*c), GFP_KERNEL);
	struct v4l2_ctrl_handler *h;

	if (!c)
		return -ENOMEM;
	c->enc = the;
	c->fourcc = V4L2_PIX_FMT_YUV420;
	c->w = 640; c->h = 480; c->fps = 30;
	c->out_size = OUT_SIZE(640, 480);
	INIT_WORK(&c->work, work);
	v4l2_fh_init(&c->fh, &the->vdev);
	file->private_data = &c->fh;
	h = &c->ctrls;
	v4l2_ctrl_handler_init(h, 10);
	v4l2_ctrl_new_std(h, NULL, V4L2_CID_MIN_BUFFERS_FOR_OUTPUT, 1, 1, 1, 1);
	c->bitrate = v4l2_ctrl_new_std(h, &ctrl_ops, V4L2_CID_MPEG_VIDEO_BITRATE, 25000, 25000000, 25000, 10000000);
	c->period = v4l2_ctrl_new_std(h, &ctrl_ops, V4L2_CID_MPEG_VIDEO_H264_I_PERIOD, 0, 0x7fffffff, 1, 60);
	c->repeat = v4l2_ctrl_new_std(h, &ctrl_ops, V4L2_CID_MPEG_VIDEO_REPEAT_SEQ_HEADER, 0, 1, 1, 0);
	v4l2_ctrl_new_std(h, &ctrl_ops, V4L2_CID_MPEG_VIDEO_FORCE_KEY_FRAME, 0, 0, 0, 0);
	v4l2_ctrl_new_std(h, &ctrl_ops, V4L2_CID_MPEG_VIDEO_H264_MIN_QP, 0, 51, 1, 20);
	v4l2_ctrl_new_std(h, &ctrl_ops, V4L2_CID_MPEG_VIDEO_H264_MAX_QP, 0, 51, 1, 51);
	v4l2_ctrl_new_std_menu(h, &ctrl_ops, V4L2_CID_MPEG_VIDEO_H264_PROFILE, V4L2_MPEG_VIDEO_H264_PROFILE_HIGH, 0, V4L2_MPEG_VIDEO_H264_PROFILE_HIGH);
	v4l2_ctrl_new_std_menu(h, &ctrl_ops, V4L2_CID_MPEG_VIDEO_H264_LEVEL, V4L2_MPEG_VIDEO_H264_LEVEL_4_2, 0, V4L2_MPEG_VIDEO_H264_LEVEL_4_0);
	c->fh.ctrl_handler = h;
	c->fh.m2m_ctx = v4l2_m2m_ctx_init(the->m2m, c, queue_init);
	v4l2_ctrl_handler_setup(h);
	c->force = false;
	v4l2_fh_add(&c->fh);
	return h->error;
}

static int enc_release(struct file *file)
{
	struct ctx *c = file_ctx(file);

	mutex_lock(&the->lock);
	v4l2_m2m_ctx_release(c->fh.m2m_ctx);
	mutex_unlock(&the->lock);
	v4l2_fh_del(&c->fh);
	v4l2_fh_exit(&c->fh);
	v4l2_ctrl_handler_free(&c->ctrls);
	kfree(c);
	return 0;
}

static const struct v4l2_file_operations fops = {
	.owner = THIS_MODULE, .open = enc_open, .release = enc_release, .poll = v4l2_m2m_fop_poll,
	.unlocked_ioctl = video_ioctl2, .mmap = v4l2_m2m_fop_mmap,
};

static void nothing(struct device *dev) { }
static struct platform_device pdev = { .name = "fake_encoder", .id = -1, .dev.release = nothing };

static int __init enc_init(void)
{
	int ret = platform_device_register(&pdev);

	if (ret)
		return ret;
	the = kzalloc(sizeof(*the), GFP_KERNEL);
	mutex_init(&the->lock);
	strscpy(the->v4l2.name, "fake_encoder", sizeof(the->v4l2.name));
	ret = v4l2_device_register(&pdev.dev, &the->v4l2);
	the->m2m = v4l2_m2m_init(&m2m_ops);
	strscpy(the->vdev.name, "bcm2835-codec-encode", sizeof(the->vdev.name));
	the->vdev.fops = &fops;
	the->vdev.ioctl_ops = &ioctls;
	the->vdev.release = video_device_release_empty;
	the->vdev.lock = &the->lock;
	the->vdev.v4l2_dev = &the->v4l2;
	the->vdev.vfl_dir = VFL_DIR_M2M;
	the->vdev.device_caps = V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING;
	return video_register_device(&the->vdev, VFL_TYPE_VIDEO, 11);
}

static void __exit enc_exit(void)
{
	video_unregister_device(&the->vdev);
	v4l2_m2m_release(the->m2m);
	v4l2_device_unregister(&the->v4l2);
	platform_device_unregister(&pdev);
	kfree(the);
}

module_init(enc_init);
module_exit(enc_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Stateful H.264 encoder of software, for tests");
